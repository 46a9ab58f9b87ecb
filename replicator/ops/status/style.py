"""Style of the pages: light and dark, wide and narrow. Colours are never the only sign."""

CSS = """
:root {
  color-scheme: light dark;
  --ground: #f5f6f8; --card: #ffffff; --text: #1c2128; --quiet: #5b6470; --rule: #dde1e6;
  --well: #1a7f4b; --watch: #9a5b00; --act: #c0232c; --unknown: #8b949e;
  --watch-ground: #fff4dc; --act-ground: #ffe9e9; --well-ground: #e6f5ec;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1318; --card: #181d24; --text: #e4e8ed; --quiet: #98a2ae; --rule: #2c333c;
    --well: #4cc38a; --watch: #f0b035; --act: #ff7b78; --unknown: #6b7580;
    --watch-ground: #33270c; --act-ground: #3b1719; --well-ground: #10291c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 16px; max-width: 1120px; background: var(--ground); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums;
}
h1 { font-size: 1em; font-weight: 600; margin: 0; color: var(--quiet); overflow-wrap: anywhere; }
h2 { font-size: 1.05em; margin: 28px 0 10px; }
a { color: inherit; }
.said { border-radius: 10px; padding: 14px 16px; margin: 10px 0 16px; border-left: 6px solid; }
.said p { margin: 0; font-size: 1.35em; font-weight: 650; }
.said ul { list-style: none; margin: 10px 0 0; padding: 0; }
.said li { margin: 4px 0; padding-left: 1.5em; text-indent: -1.5em; overflow-wrap: anywhere; }
.said .mark { display: inline-block; width: 1.5em; text-indent: 0; }
.said b { font-weight: 600; }
.said.well { background: var(--well-ground); border-color: var(--well); }
.said.watch { background: var(--watch-ground); border-color: var(--watch); }
.said.act { background: var(--act-ground); border-color: var(--act); }
.mark.well { color: var(--well); }
.mark.watch { color: var(--watch); }
.mark.act { color: var(--act); }
.mark { font-weight: 700; }
.mark.unknown { color: var(--unknown); }
.top { display: grid; grid-template-columns: minmax(0, 1.15fr) minmax(0, 1fr); gap: 16px; align-items: start; }
.picture, .region, .links, .run, .card {
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
}
.picture { padding: 10px; }
.picture svg { display: block; width: 100%; height: auto; max-height: 560px; }
.key { color: var(--quiet); font-size: 0.85em; margin: 4px 6px 2px; }
.key span { white-space: nowrap; margin-right: 1em; }
.key i { display: inline-block; width: 1.6em; vertical-align: middle; margin-right: 0.4em; }
.key i { border-top: 3px solid var(--well); }
.key .watch i { border-color: var(--watch); border-top-width: 4px; }
.key .act i { border-color: var(--act); border-top-width: 6px; }
.key .unknown i { border-color: var(--unknown); border-top-style: dashed; border-top-width: 2px; }
.regions { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); }
.region { padding: 12px 14px; border-top-width: 5px; border-top-color: var(--well); }
.region.watch { border-top-color: var(--watch); }
.region.act { border-top-color: var(--act); }
.region h3, .run h3 { margin: 0; font-size: 1.02em; overflow-wrap: anywhere; }
.region .role { margin: 1px 0 8px; font-weight: 600; color: var(--well); }
.region.watch .role, .run .role { color: var(--watch); }
.region.act .role { color: var(--act); }
dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 14px; margin: 0; }
dt { color: var(--quiet); }
dd { margin: 0; text-align: right; white-space: nowrap; }
dd.act { color: var(--act); font-weight: 700; }
.why { margin: 8px 0 0; color: var(--quiet); overflow-wrap: anywhere; }
.links { width: 100%; border-collapse: separate; border-spacing: 0; }
.links th, .links td { padding: 7px 12px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
.links tr:last-child td, .links tr:last-child th { border-bottom: 0; }
.links thead th { color: var(--quiet); font-weight: 500; font-size: 0.9em; }
.links tbody th { font-weight: 500; }
.links th:first-child { text-align: left; }
.links .mark { display: inline-block; width: 1.4em; }
.links tr.watch { background: var(--watch-ground); }
.links tr.act { background: var(--act-ground); }
.links td.watch { color: var(--watch); font-weight: 650; }
.links td.act { color: var(--act); font-weight: 650; }
.run { padding: 12px 14px; margin: 0 0 10px; border-left: 5px solid var(--watch); }
.run p { margin: 2px 0 0; overflow-wrap: anywhere; }
.quiet, .card > p.quiet, footer { color: var(--quiet); }
footer { margin: 26px 0 8px; font-size: 0.9em; }
svg text { font: 600 14.5px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--text); }
svg .node text { text-anchor: middle; }
svg .under { font-weight: 500; font-size: 13px; fill: var(--well); }
svg .node rect { fill: var(--card); stroke: var(--well); stroke-width: 2; }
svg .node.watch rect { fill: var(--watch-ground); stroke: var(--watch); stroke-width: 3; }
svg .node.act rect { fill: var(--act-ground); stroke: var(--act); stroke-width: 3; }
svg .node.watch .under { fill: var(--watch); }
svg .node.act .under { fill: var(--act); }
svg .arrow path { fill: none; stroke: var(--well); }
svg .arrow polygon { fill: var(--well); }
svg .arrow.watch path { stroke: var(--watch); }
svg .arrow.watch polygon { fill: var(--watch); }
svg .arrow.act path { stroke: var(--act); }
svg .arrow.act polygon { fill: var(--act); }
svg .arrow.unknown path { stroke: var(--unknown); stroke-dasharray: 5 5; }
svg .arrow.unknown polygon { fill: var(--unknown); }
svg .arrow.well { opacity: 0.75; }
svg .label { font-size: 13px; font-weight: 650; paint-order: stroke; stroke: var(--card); stroke-width: 5px; }
svg .label.watch { fill: var(--watch); }
svg .label.act { fill: var(--act); }
@media (max-width: 760px) {
  body { padding: 10px; }
  .top { grid-template-columns: minmax(0, 1fr); }
  .said p { font-size: 1.2em; }
  .regions { grid-template-columns: minmax(0, 1fr); }
  .region dl { grid-template-columns: auto 1fr auto 1fr; }
  .links thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  .links, .links tbody { display: block; }
  .links tr { display: grid; grid-template-columns: 1fr 1fr; gap: 0 18px; padding: 8px 12px; }
  .links tr { border-bottom: 1px solid var(--rule); }
  .links tr:last-child { border-bottom: 0; }
  .links tbody th { grid-column: 1 / -1; text-align: left; padding: 0 0 2px; border: 0; }
  .links td { display: flex; justify-content: space-between; gap: 8px; padding: 0; border: 0; font-size: 0.9em; }
  .links td::before { content: attr(data-name); color: var(--quiet); font-weight: 400; }
  .links td.idle { display: none; }
}
"""
