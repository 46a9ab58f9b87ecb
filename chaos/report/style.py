"""Style of a run's page, beside that of all pages of Meridian's (replicator/ops/status/style.py)."""

_REGIONS = {  # Okabe and Ito's palette, safe for the colour-blind, darkened or lightened for the ground
    "light": ("#0072b2", "#c25100", "#00795a", "#a8447f", "#7a6a00", "#444c56"),
    "dark": ("#56b4e9", "#f08d49", "#2fc79a", "#e29ac6", "#e5d65c", "#aab4bf"),
}


def _colours(ground: str) -> str:
    return " ".join(f"--r{number}: {colour};" for number, colour in enumerate(_REGIONS[ground]))


CSS = (
    f":root {{ {_colours('light')} --shade: #f3c77d66; --bar: #b45f06; }}\n"
    + f"@media (prefers-color-scheme: dark) {{ :root {{ {_colours('dark')} --shade: #7a541f66; --bar: #f0a94b; }} }}\n"
    + "".join(f".curve.r{n} {{ stroke: var(--r{n}); }} .key .r{n} i {{ border-color: var(--r{n}); }}\n" for n in range(6))
    + """
h1 { font-size: 1.15em; }
.card { padding: 14px 16px; margin: 0 0 16px; }
.card > h2 { margin: 0 0 4px; overflow-wrap: anywhere; }
.card > p { margin: 4px 0 10px; }
.figures { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); margin: 12px 0; }
.figures div { border-left: 3px solid var(--rule); padding-left: 10px; }
.figures b { display: block; font-size: 1.3em; }
.figures span { color: var(--quiet); font-size: 0.9em; }
code.again { display: block; padding: 8px 10px; background: var(--ground); border-radius: 6px; overflow-wrap: anywhere; }
.grid2 { display: grid; gap: 4px 28px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
figure { margin: 18px 0 6px; min-width: 0; }
figcaption { font-weight: 600; margin: 0 0 8px; }
.plot { position: relative; height: 150px; margin: 0 0 0 52px; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.faults { position: relative; margin: 8px 0 8px 52px; overflow: hidden; }
.fault { position: absolute; left: 0; right: 0; height: 40px; }
.fault i { position: absolute; top: 22px; height: 12px; min-width: 5px; border-radius: 3px; background: var(--bar); }
.fault.missed i { background: none; border: 2px dashed var(--act); }
.fault span { position: absolute; top: 0; white-space: nowrap; font-size: 0.88em; line-height: 20px; max-width: 100%;
  overflow: hidden; text-overflow: ellipsis; }
.fault small { color: var(--quiet); }
.shade { fill: var(--shade); }
.grid { stroke: var(--rule); stroke-width: 1; vector-effect: non-scaling-stroke; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.scale span { position: absolute; right: calc(100% + 6px); transform: translateY(50%); font-size: 0.8em;
  color: var(--quiet); white-space: nowrap; line-height: 1; text-align: right; }
.seconds { position: relative; height: 1.5em; margin-left: 52px; font-size: 0.8em; color: var(--quiet); }
.seconds span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.moment { position: absolute; top: 0; bottom: 0; width: 0; border-left: 1px dashed var(--quiet); }
table.list { width: 100%; border-collapse: collapse; }
table.list th, table.list td { text-align: left; padding: 6px 10px 6px 0; border-top: 1px solid var(--rule);
  vertical-align: top; overflow-wrap: anywhere; }
table.list th { color: var(--quiet); font-weight: 500; }
table.list thead th { border: 0; font-size: 0.9em; }
table.list td.number { text-align: right; white-space: nowrap; overflow-wrap: normal; }
table.list th.number { text-align: right; white-space: nowrap; }
figcaption small { font-weight: 400; }
table.list td small { display: block; color: var(--quiet); }
table.list tr.act td { background: var(--act-ground); }
details > summary { cursor: pointer; }
details.run { padding: 0; border: 0; background: none; margin: 0 0 12px; }
details.run > summary { padding: 10px 14px; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.key i { border-top-width: 3px; }
.key .shaded i { border: 0; height: 0.9em; background: var(--shade); }
.key .moments i { width: 0; height: 1em; border: 0; border-left: 1px dashed var(--quiet); margin: 0 0.8em; }
@media (max-width: 560px) {
  body { padding: 10px; }
  .card { padding: 12px; }
  .plot, .faults, .seconds { margin-left: 44px; }
  table.list .wide { display: none; }
  .fault span { left: 0 !important; right: 0 !important; overflow: hidden; text-overflow: ellipsis; }
}
"""
)
