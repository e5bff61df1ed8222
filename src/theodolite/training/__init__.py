"""Train adapters: safety fine-tuning and preferences, by TRL and PEFT, from one TOML recipe."""
