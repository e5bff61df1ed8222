// Figures, samples, tokens and the theme of a report. Text of others goes through textContent only.
"use strict";
(() => {
  const root = document.documentElement;
  const island = JSON.parse(document.getElementById("island").textContent);
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const AHEAD = "600px";
  const PAGE = 20;
  const FONT = getComputedStyle(document.body).fontFamily;

  // ---- theme -------------------------------------------------------------------------------
  let printing = false;

  function isDark() {
    if (printing) return false;
    return root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
  }

  function themeChanged() {
    const button = document.getElementById("theme");
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use the ${isDark() ? "light" : "dark"} theme`);
    for (const plot of drawn) draw(plot);
  }

  function startTheme() {
    const button = document.getElementById("theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("theodolite-theme", root.dataset.theme);
      } catch (error) {
        // The choice then holds for this visit.
      }
      themeChanged();
    });
    systemDark.addEventListener("change", themeChanged);
    themeChanged();
  }

  // ---- figures -----------------------------------------------------------------------------
  const drawn = new Set();
  let library = null;

  function loadLibrary() {
    library ??= unpack();
    return library;
  }

  async function unpack() {
    const packed = atob(document.getElementById("plotly").textContent.trim());
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    // The content policy admits this source by its hash, and nothing else.
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    if (!window.Plotly) throw new Error("the drawing library did not start");
  }

  function colour(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }

  function themed(layout, narrow) {
    const ink = colour("--ink-2");
    const size = narrow ? 11 : 12.5;
    const line = colour("--line");
    const result = {
      ...structuredClone(layout),
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: FONT, size, color: ink },
      hoverlabel: {
        bgcolor: colour("--paper"),
        bordercolor: line,
        font: { family: FONT, size: 12.5, color: colour("--ink") },
      },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: ink },
      dragmode: false,
    };
    result.xaxis ??= {};
    result.yaxis ??= {};
    for (const [name, axis] of Object.entries(result)) {
      if (!/^[xy]axis\d*$/.test(name)) continue;
      Object.assign(axis, { gridcolor: line, linecolor: line, tickcolor: line, zerolinecolor: line });
      axis.fixedrange = true;
      if (axis.title) axis.title.font = { size };
    }
    return result;
  }

  function draw(plot) {
    const spec = island.figures[Number(plot.dataset.figure)];
    const narrow = plot.clientWidth < 520;
    const traces = structuredClone(spec.data);
    for (const trace of traces) {
      if (!trace.colorbar) continue;
      trace.colorbar.outlinewidth = 0;
      if (trace.colorbar.title) trace.colorbar.title.font = { size: narrow ? 11 : 12.5 };
    }
    return window.Plotly.react(plot, traces, themed(spec.layout, narrow), {
      responsive: true,
      displaylogo: false,
      displayModeBar: narrow ? false : "hover",
      modeBarButtons: [["toImage"]],
      toImageButtonOptions: { format: "svg", filename: `figure-${plot.dataset.figure}` },
    });
  }

  async function show(plot) {
    if (drawn.has(plot)) return;
    try {
      await loadLibrary();
      if (drawn.has(plot)) return;
      plot.replaceChildren();
      drawn.add(plot);
      await draw(plot);
      plot.dataset.state = "drawn";
    } catch (error) {
      drawn.delete(plot);
      plot.dataset.state = "failed";
      plot.replaceChildren(element("p", "notice",
        "This browser cannot draw the figure. The data table below holds its numbers."));
    }
  }

  function startFigures() {
    const plots = [...document.querySelectorAll(".plot")];
    if (!plots.length) return;
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        watcher.unobserve(entry.target);
        show(entry.target);
      }
    }, { rootMargin: AHEAD });
    for (const plot of plots) watcher.observe(plot);
    // Unpacked in idle time, so that printing finds the library ready.
    const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 800));
    idle(() => loadLibrary().catch(() => {}));
    addEventListener("beforeprint", () => {
      printing = true;
      for (const plot of plots) {
        if (!window.Plotly) continue;
        if (!drawn.has(plot)) plot.replaceChildren();
        drawn.add(plot);
        draw(plot);
        plot.dataset.state = "drawn";
      }
    });
    addEventListener("afterprint", () => {
      printing = false;
      for (const plot of drawn) draw(plot);
    });
  }

  // ---- samples -----------------------------------------------------------------------------
  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function sampleCard(sample) {
    const card = element("article", "sample");
    const head = element("header");
    head.append(element("code", "", sample.id), element("span", "badge", sample.label));
    if (sample.harmful) head.append(element("span", "badge harmful", "harmful request"));
    card.append(head);
    if (sample.hidden) {
      const { prompt, completion, hash } = sample.hidden;
      card.append(element("p", "quiet",
        `Text not in this file: prompt ${prompt} characters, completion ${completion} characters, hash ${hash}.`));
    } else {
      card.append(element("h4", "", "Prompt"), element("pre", "", sample.prompt));
      card.append(element("h4", "", "Completion"), element("pre", "", sample.completion));
    }
    if (sample.facts.length) card.append(factList(sample.facts));
    return card;
  }

  function factList(pairs) {
    const facts = element("dl", "facts");
    for (const [name, value] of pairs) {
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", "", value));
      facts.append(pair);
    }
    return facts;
  }

  // Cards by label, a page at a time.
  function listCards(list, items, card, page) {
    const labels = [...new Set(items.map((item) => item.label))].sort();
    let chosen = null;
    let count = page;

    function fill() {
      const matching = items.filter((item) => chosen === null || item.label === chosen);
      list.replaceChildren();
      if (labels.length > 1 && labels.length < 12) list.append(chooser());
      for (const item of matching.slice(0, count)) list.append(card(item));
      if (matching.length <= count) return;
      const more = element("button", "", `Show ${Math.min(page, matching.length - count)} more`);
      more.type = "button";
      more.addEventListener("click", () => { count += page; fill(); });
      list.append(more);
    }

    function chooser() {
      const row = element("div", "chooser");
      for (const label of [null, ...labels]) {
        const button = element("button", "", label ?? "all");
        button.type = "button";
        button.setAttribute("aria-pressed", String(label === chosen));
        button.addEventListener("click", () => { chosen = label; count = page; fill(); });
        row.append(button);
      }
      return row;
    }

    fill();
  }

  function startSamples() {
    for (const details of document.querySelectorAll("details.samples")) {
      details.addEventListener("toggle", () => {
        if (details.open && !details.dataset.filled) {
          details.dataset.filled = "yes";
          const samples = island.samples[details.dataset.panel] ?? [];
          listCards(details.querySelector(".sample-list"), samples, sampleCard, PAGE);
        }
      });
    }
  }

  // ---- tokens ------------------------------------------------------------------------------
  const MAPS = 4;
  const LARGEST = 5;

  function signed(value) {
    if (value === null) return "not known";
    return `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value)}`;
  }

  function tokenName(map, i) {
    const [text] = map.tokens[i];
    const place = `token ${map.start + i + 1}`;
    return text === null ? place : `“${text.trim() || text}” (${place})`;
  }

  function tokenSpan(map, i) {
    const [text, value, template] = map.tokens[i];
    const span = element("span", "token", text === null ? String(map.start + i + 1) : text);
    if (text === null) span.classList.add("place");
    if (template) span.classList.add("template");
    else if (value) {
      span.classList.add(value > 0 ? "up" : "down");
      span.style.setProperty("--w", Math.min(1, Math.abs(value) / (map.scale || 1)).toFixed(3));
    }
    span.dataset.at = i;
    span.title = signed(value);
    return span;
  }

  function largestWords(map) {
    const own = map.tokens.map((token, i) => i).filter((i) => map.tokens[i][1] && !map.tokens[i][2]);
    own.sort((a, b) => Math.abs(map.tokens[b][1]) - Math.abs(map.tokens[a][1]));
    const named = own.slice(0, LARGEST).map((i) => `${tokenName(map, i)} ${signed(map.tokens[i][1])}`);
    return named.length ? `Largest: ${named.join("; ")}.` : "No token of the request has a number.";
  }

  function tokenCard(map) {
    const card = element("article", "token-card");
    const head = element("header");
    head.append(element("code", "", map.id), element("span", "badge", map.label));
    if (map.harmful) head.append(element("span", "badge harmful", "harmful request"));
    card.append(head, element("p", "fine quiet", map.about));
    if (map.hidden) card.append(element("p", "fine quiet", "Text not in this file: tokens are shown by their places."));
    const text = element("p", "tokens");
    if (map.start) text.append(element("span", "token template", `[${map.start} tokens before] `));
    map.tokens.forEach((_, i) => text.append(tokenSpan(map, i)));
    const note = element("p", "token-note", largestWords(map));
    note.setAttribute("aria-live", "polite");
    text.addEventListener("click", (event) => {
      const chosen = event.target.closest(".token[data-at]");
      if (!chosen) return;
      for (const other of text.querySelectorAll("[aria-pressed]")) other.removeAttribute("aria-pressed");
      chosen.setAttribute("aria-pressed", "true");
      const i = Number(chosen.dataset.at);
      note.textContent = `${tokenName(map, i)}: ${signed(map.tokens[i][1])}`;
    });
    card.append(text, note);
    if (map.facts.length) card.append(factList(map.facts));
    return card;
  }

  function startTokens() {
    for (const details of document.querySelectorAll("details.token-maps")) {
      const maps = island.tokens[details.dataset.panel] ?? [];
      listCards(details.querySelector(".token-list"), maps, tokenCard, MAPS);
    }
  }

  // ---- contents ----------------------------------------------------------------------------
  function startContents() {
    const links = new Map();
    for (const link of document.querySelectorAll(".contents a")) {
      links.set(link.getAttribute("href").slice(1), link);
    }
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const [id, link] of links) {
          if (id === entry.target.id) link.setAttribute("aria-current", "true");
          else link.removeAttribute("aria-current");
        }
      }
    }, { rootMargin: "-15% 0px -75% 0px" });
    for (const section of document.querySelectorAll("main > section")) watcher.observe(section);
  }

  // On a phone the key figures on top suffice at first sight.
  function closeTablesOnPhone() {
    if (!matchMedia("(max-width: 760px)").matches) return;
    for (const details of document.querySelectorAll("details.measured")) details.open = false;
  }

  closeTablesOnPhone();
  startTheme();
  startFigures();
  startSamples();
  startTokens();
  startContents();
})();
