#!/usr/bin/env bash
# Photograph a report for the README, on a desktop and on a phone, light and dark.
#
#   tools/screenshot_report.sh [REPORT.html] [FOLDER]
#
# Without a report the made-up demo is taken. Needs Chromium (Debian: apt-get install chromium).
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${2:-docs/pictures}
mkdir -p "$folder"
report=${1:-}
if [[ -z $report ]]; then
  report=$(mktemp -d)/report.html
  python -m tests.report.demo "$report"
fi

shoot() { python -m tests.report.browser "$report" "$folder/$1" --window "${@:2}"; }

shoot report-desktop.png --width 1280 --height 1480
shoot report-desktop-dark.png --width 1280 --height 1480 --dark
shoot report-phone.png --width 390 --height 844 --phone --at figures
shoot report-phone-dark.png --width 390 --height 844 --phone --dark --at p0
ls -l "$folder"/report-*.png
