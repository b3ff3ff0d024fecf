// The console's page. It learns everything from one stream of events and acts by requests to the sandbox, which calls
// the service with tokens that this page never sees.

const PARTIES = [
  ['citizen', 'Citizen'], ['idim', 'IDIM'], ['entra', 'Entra'], ['api', 'API'], ['records', 'Records'],
  ['queue', 'Queue'], ['pexip', 'Pexip'], ['node', 'Node'], ['agent', 'Agent'], ['genesys', 'Genesys'],
];
const LANES = new Map(PARTIES.map(([id], at) => [id, at]));
const NAMES = new Map([...PARTIES, ['timer', 'Timer'], ['other', 'Somebody else'], ['node', 'Conferencing Node'], ['pexip', 'Pexip management'], ['agent', 'Genesys agent']]);

/** Title, states, meaning, and how many rooms have a tile of their own. */
const STAGES = [
  ['Made', ['made'], 'On Pexip, on its way to the queue', 6],
  ['Ready', ['ready'], 'In the queue', 9],
  ['Prefetched', ['held'], 'Leased and checked by an instance', 8],
  ['Handed out', ['claimed', 'handed_out', 'not_yet'], 'Tagged with a citizen’s case', 12],
  ['In call', ['in_call'], 'Somebody is in', 8],
  ['Empty', ['empty'], 'After a call', 6],
  ['Gone', ['over', 'deleted'], 'Deleted, or its validity is over', 6],
];
const STATES = {
  made: 'made', ready: 'ready', held: 'prefetched by an instance', claimed: 'claimed', handed_out: 'handed out', not_yet: 'handed out, not yet valid',
  in_call: 'in call', empty: 'empty', over: 'validity over', deleted: 'deleted',
};
const RESULTS = { done: 'done', refused: 'refused, rightly', failed: 'failed' };

/** Lines that stay in the sequence. */
const MOST_LINES = 400;
/** Width of the bars of few creates: as if there were this many. */
const FEWEST_BARS = 16;
/** An exchange of the service this long after its last answer belongs to nobody's request. */
const AFTERMATH = 600;

const NOTHING_YET = 'Nothing yet. Start a video session, and each HTTP exchange appears here as an arrow.';
const NOTHING_SHOWN = 'Nothing to show: cleared, or hidden by the boxes above. New exchanges appear here as arrows.';

const $ = (id) => document.getElementById(id);

/** Makes an element. Everything that the server says becomes text, never HTML. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === 'class') element.className = value;
    else if (key.startsWith('--')) element.style.setProperty(key, value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const seconds = (t) => `${(t / 1000).toFixed(1)} s`;
const span = (ms) => (ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`);
const short = (room) => room.slice(-4);
const plural = (count, one) => `${count} ${one}${count === 1 ? '' : 's'}`;

/** Parts of a text whose secrets the server has hidden: ⟦PIN⟧. */
function withSecrets(text) {
  return text.split(/(⟦[^⟧]*⟧)/).filter(Boolean).map((part) => {
    const secret = /^⟦([^⟧]*)⟧$/.exec(part);
    return secret ? make('span', { class: 'hidden-secret' }, make('b', {}, `${secret[1]} hidden`)) : part;
  });
}

// ---- what is known

/** Names the sandbox's process. */
let run = null;
let state = null;
let load = null;
/** By id: the line, its element. */
const lines = new Map();
let chosenRoom = null;
let chosenSession = null;
/** The link that was shared last, and its session. */
let link = null;
/** What was hidden with “Clear”. */
let clearedAt = 0;
/** The room source that is set at the service, as it was drawn last: until it changes, one's own choice stays. */
let drawnSource = null;

// ---- the stream

const busy = new Set();
let dirty = new Set();

function later(what) {
  if (dirty.size === 0) requestAnimationFrame(draw);
  dirty.add(what);
}

function draw() {
  const what = dirty;
  dirty = new Set();
  if (what.has('state')) drawState();
  if (what.has('lines')) drawLines();
  if (what.has('load')) drawLoad();
}

const stream = new EventSource('/events');
stream.addEventListener('open', () => connected('live', 'Live'));
stream.addEventListener('error', () => {
  if (stream.readyState === EventSource.CLOSED) connected('refused', 'Not connected');
  else connected('lost', 'Connecting again…');
});
stream.addEventListener('all', (event) => {
  const all = JSON.parse(event.data);
  // Another sandbox, whose ids begin anew: what was chosen and cleared here says nothing about it.
  if (run !== null && run !== all.run) {
    location.reload();
    return;
  }
  run = all.run;
  lines.clear();
  $('lines').replaceChildren();
  for (const [kind, line] of all.lines) take(kind, line);
  state = all.state;
  load = all.load;
  later('state');
  later('load');
});
stream.addEventListener('exchange', (event) => take('exchange', JSON.parse(event.data)));
stream.addEventListener('note', (event) => take('note', JSON.parse(event.data)));
stream.addEventListener('state', (event) => { state = JSON.parse(event.data); later('state'); });
stream.addEventListener('load', (event) => { load = JSON.parse(event.data); later('load'); });

function connected(how, text) {
  $('live').dataset.state = how;
  for (const id of ['lost', 'refused']) $(id).hidden = how !== id;
  $('live').lastElementChild.textContent = text;
}

// ---- the sequence

const waiting = new Map();

function take(kind, line) {
  waiting.set(line.id, { kind, ...line });
  // A hidden page draws nothing, so they would become more and more.
  if (waiting.size > MOST_LINES) waiting.delete(waiting.keys().next().value);
  later('lines');
}

/** When the last request of somebody was at work. */
function isBackground(line) {
  if (line.kind === 'note') return false;
  if (line.from === 'timer') return true;
  if (line.from !== 'api') return false;
  for (const { line: other } of lines.values()) {
    if (other.t > line.t) continue;
    if (other.kind === 'note') {
      if (other.by !== 'fault' && (other.ended ?? Infinity) + AFTERMATH > line.t) return false;
    } else if (other.from !== 'api' && other.from !== 'timer' && other.to === 'api') {
      if ((other.ms === undefined ? Infinity : other.t + other.ms) + AFTERMATH > line.t) return false;
    }
  }
  return true;
}

function drawLines() {
  const list = $('lines');
  for (const line of [...waiting.values()].sort((one, other) => one.id - other.id)) {
    const known = lines.get(line.id);
    line.background = known ? known.line.background : isBackground(line);
    const element = line.kind === 'note' ? noteElement(line) : lineElement(line);
    if (known) {
      const focused = known.element.contains(document.activeElement);
      const tab = known.element.querySelector('button')?.tabIndex;
      known.element.replaceWith(element);
      if (tab === 0) element.querySelector('button').tabIndex = 0;
      if (focused) element.querySelector('button').focus({ preventScroll: true });
    } else {
      let before = list.lastElementChild;
      while (before && Number(before.dataset.t) > line.t) before = before.previousElementSibling;
      if (before) before.after(element);
      else list.prepend(element);
    }
    lines.set(line.id, { line, element });
  }
  waiting.clear();
  while (lines.size > MOST_LINES) {
    const [id, { element }] = lines.entries().next().value;
    element.remove();
    lines.delete(id);
  }
  filter();
  showNewest();
}

/** Whether the newest line is shown when there is one: until somebody scrolls up. */
let follows = true;
$('scroll').addEventListener('scroll', () => {
  const { scrollHeight, scrollTop, clientHeight } = $('scroll');
  follows = scrollHeight - scrollTop - clientHeight < 60;
});

function showNewest() {
  if (follows) $('scroll').scrollTop = $('scroll').scrollHeight;
}

// Its height changes with the panels beside it.
new ResizeObserver(showNewest).observe($('scroll'));

function noteElement(note) {
  const result = note.result ?? 'running';
  return make('li', { class: 'note', 'data-t': note.t, 'data-id': note.id },
    make('span', { class: 'when' }, seconds(note.t)),
    make('b', {}, note.title),
    make('span', { class: 'mark', 'data-result': result }, RESULTS[result] ?? 'running'),
    note.text ? make('span', { class: 'text' }, note.text) : null);
}

function lineElement(line) {
  const [from, to] = [LANES.get(line.from) ?? -0.5, LANES.get(line.to)];
  const pending = line.ms === undefined;
  const cut = !pending && line.status === null;
  const tone = line.is_expected ? 'ok' : cut || line.status >= 500 ? 'bad' : line.status >= 400 ? 'warn' : 'ok';
  const status = pending ? '…' : cut ? 'cut' : String(line.status);
  const instance = instanceOf(line);
  const wire = make('i', {
    class: [to < from && 'back', (line.from === 'timer' || line.from === 'other') && 'from-edge', instance && line.to === 'api' && 'to-instance']
      .filter(Boolean).join(' '),
    '--a': Math.min(from, to), '--n': Math.abs(to - from),
  });
  const button = make('button', {
    class: `line${line.background ? ' is-background' : ''}`, type: 'button', tabindex: -1,
    'data-tone': tone, 'data-pending': pending, 'data-from': line.from, 'data-to': line.to, 'data-what': line.what, 'data-status': status,
  },
  make('span', { class: 'when' }, seconds(line.t)),
  make('span', { class: 'wire', 'aria-hidden': 'true' }, wire, instance ? make('b', { '--at': LANES.get('api') }, instance) : null),
  make('span', { class: 'said' },
    make('span', { class: 'who' }, parties(line)),
    make('span', { class: 'status' }, status),
    make('span', { class: 'what' }, line.what, line.code ? make('em', {}, ` ${line.code}`) : null),
    make('span', { class: 'ms' }, pending ? '' : span(line.ms))));
  button.addEventListener('click', () => showDetail(line.id));
  return make('li', { 'data-t': line.t, 'data-id': line.id }, button);
}

/** Which of the API's instances sent or answered this, as far as it is known. */
function instanceOf({ caller, instance }) {
  return caller ?? (instance === '-' ? null : instance);
}

/** The names of both sides. */
function parties(line) {
  const instance = instanceOf(line);
  const name = (party) => NAMES.get(party) + (party === 'api' && instance ? ` instance ${instance}` : '');
  return `${name(line.from)} → ${name(line.to)}`;
}

function isShown(line) {
  if (line.id <= clearedAt) return false;
  if (line.background && !$('background').checked) return false;
  if ($('only-room').checked && chosenRoom) return (line.rooms ?? []).includes(chosenRoom);
  return true;
}

function filter() {
  let any = false;
  for (const { line, element } of lines.values()) {
    element.hidden = !isShown(line);
    any ||= !element.hidden;
  }
  $('nothing').hidden = any;
  $('nothing').textContent = lines.size ? NOTHING_SHOWN : NOTHING_YET;
  const buttons = shownButtons();
  if (!buttons.some((button) => button.tabIndex === 0)) {
    for (const button of $('lines').querySelectorAll('button[tabindex="0"]')) button.tabIndex = -1;
    if (buttons.length) buttons.at(-1).tabIndex = 0;
  }
}

const shownButtons = () => [...$('lines').querySelectorAll('li:not([hidden]) > button.line')];

/** One stop for the Tab key, arrows from there on. */
function rove(container, list) {
  container.addEventListener('keydown', (event) => {
    const buttons = list();
    const at = buttons.indexOf(document.activeElement);
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (at < 0 || step === undefined) return;
    event.preventDefault();
    const next = buttons[Math.max(0, Math.min(buttons.length - 1, at + step))];
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  });
}
rove($('lines'), shownButtons);
rove($('stages'), () => [...$('stages').querySelectorAll('button.tile')]);

$('lanes').append(make('span'), ...PARTIES.map(([id, name]) => make(id === 'api' ? 'b' : 'span', {}, name)));
for (const id of ['only-room', 'background']) $(id).addEventListener('change', filter);
$('nothing').textContent = NOTHING_YET;
$('clear').addEventListener('click', () => {
  clearedAt = Math.max(clearedAt, ...lines.keys());
  filter();
});

// ---- an exchange's details

let opener = null;
/** Counts the details that were opened: an answer that comes late does not replace the next one's. */
let opened = 0;

async function showDetail(id) {
  opened += 1;
  const mine = opened;
  opener = document.activeElement?.closest?.('[data-id]')?.dataset.id ?? null;
  const known = lines.get(id)?.line;
  const title = known ? parties(known) : 'Exchange';
  $('detail-title').textContent = title;
  const body = $('detail-body');
  body.replaceChildren(make('p', { class: 'empty' }, 'Loading…'));
  $('detail').showModal();
  const answer = await fetch(`/exchange/${id}`).catch(() => null);
  const details = answer?.ok ? await answer.json() : null;
  if (mine !== opened) return;
  if (!details) {
    const why = known && known.ms === undefined ? 'It is in progress: there is no answer yet.' : 'Its details are not kept any more.';
    body.replaceChildren(make('p', { class: 'empty' }, why));
    return;
  }
  const { line, request, answer: answered } = details;
  const query = line.query ? `?${line.query}` : '';
  body.replaceChildren(
    make('p', { class: 'first' }, make('code', {}, `${line.method} `, ...withSecrets(line.path + query))),
    make('p', { class: 'hint' }, `${line.what[0].toUpperCase()}${line.what.slice(1)}. ${line.status === null ? 'No answer' : `Status ${line.status}`} after ${span(line.ms)}. `
      + 'Secrets are hidden like this: ', ...withSecrets('⟦PIN⟧')),
    make('h3', {}, 'Request'), ...part(request),
    make('h3', {}, 'Answer'), ...(line.status === null ? [make('p', { class: 'empty' }, 'The connection ended without one.')] : part(answered)));
}

function part({ headers, body }) {
  const rows = headers.map(([name, value]) => make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, ...withSecrets(value))));
  return [
    make('table', {}, make('tbody', {}, ...rows)),
    body ? make('pre', {}, ...withSecrets(body)) : make('p', { class: 'empty' }, 'No body.'),
  ];
}

$('detail-close').addEventListener('click', () => $('detail').close());
$('detail').addEventListener('click', (event) => { if (event.target === $('detail')) $('detail').close(); });
$('detail').addEventListener('close', () => $('lines').querySelector(`[data-id="${opener}"] button`)?.focus({ preventScroll: true }));

// ---- rooms, session, faults, numbers

function drawState() {
  if (!state?.rooms) return;
  drawSession();
  drawRooms();
  enable($('only-room'), chosenRoom !== null);
  drawFaults();
  drawNumbers();
  filter();
}

function drawRooms() {
  const ready = ['made', 'ready', 'held'].reduce((sum, name) => sum + (state.room_counts[name] ?? 0), 0);
  $('target').textContent = `${ready} of ${state.target} in the pool`;
  const held = document.activeElement?.dataset?.room;
  const stages = STAGES.map(([title, names, about, most]) => {
    const rooms = state.rooms.filter((room) => names.includes(room.state));
    rooms.sort((one, other) => since(one) - since(other));
    const count = names.reduce((sum, name) => sum + (state.room_counts[name] ?? 0), 0);
    const shown = rooms.slice(-most);
    const chosen = rooms.find(({ name }) => name === chosenRoom);
    if (chosen && !shown.includes(chosen)) shown[0] = chosen;
    const tiles = shown.map((room) => {
      const about = `${STATES[room.state]}${room.kind === 'instant' ? ', instant room' : ''}`;
      const tile = make('button', {
        class: 'tile', type: 'button', tabindex: -1, title: `${room.name}: ${about}`, 'aria-pressed': String(room.name === chosenRoom),
        'data-room': room.name, 'data-state': room.state, 'data-kind': room.kind,
      }, short(room.name), make('span', { class: 'unseen' }, `, ${about}`));
      tile.addEventListener('click', () => { chooseRoom(room.name); });
      return tile;
    });
    return { title, about, count, tiles, more: count - shown.length };
  });
  const list = $('stages');
  if (!list.children.length) {
    list.append(...stages.map(({ title, about }) => make('li', { 'data-stage': title, title: about },
      make('h3', {}, title, make('b', {}, '0')), make('div', { class: 'tiles' }))));
  }
  for (const [at, { about, count, tiles, more, title }] of stages.entries()) {
    const stage = list.children[at];
    stage.querySelector('b').textContent = count;
    stage.setAttribute('aria-label', `${title}: ${plural(count, 'room')}. ${about}`);
    merge(stage.querySelector('.tiles'), tiles, more);
  }
  const tiles = [...list.querySelectorAll('.tile')];
  const focus = tiles.find((tile) => tile.dataset.room === held);
  for (const tile of tiles) tile.tabIndex = -1;
  const stop = focus ?? tiles.find((tile) => tile.dataset.room === chosenRoom) ?? tiles[0];
  if (stop) stop.tabIndex = 0;
  if (focus && document.activeElement !== focus) focus.focus({ preventScroll: true });
  drawLife();
}

/** Keeps the tiles that stay, so that only new ones appear. */
function merge(container, tiles, more) {
  const known = new Map([...container.querySelectorAll('.tile')].map((tile) => [tile.dataset.room, tile]));
  const all = tiles.map((tile) => {
    const old = known.get(tile.dataset.room);
    if (!old) return tile;
    for (const { name, value } of tile.attributes) if (name !== 'tabindex' && old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.textContent !== tile.textContent) old.replaceChildren(...tile.childNodes);
    return old;
  });
  if (more) all.push(make('span', { class: 'more' }, `+${more}`));
  const same = all.length === container.childNodes.length && all.every((tile, at) => container.childNodes[at] === tile);
  if (!same) container.replaceChildren(...all);
}

const since = (room) => room.life.at(-1)[1];

function chooseRoom(name) {
  chosenRoom = name;
  const session = state.sessions.find(({ room }) => room === chosenRoom);
  if (session) chosenSession = session.id;
  later('state');
}

function drawLife() {
  const room = state.rooms.find(({ name }) => name === chosenRoom);
  if (!room) {
    $('life').replaceChildren(make('p', { class: 'empty' }, 'Choose a room to see its life, from made to deleted.'));
    return;
  }
  const steps = room.life.map(([name, at], index) => {
    const next = room.life[index + 1];
    const last = index === room.life.length - 1;
    const text = index === 0 ? `at ${seconds(at)}` : `+${span(at - room.life[index - 1][1])}`;
    return make('li', { 'aria-current': last ? 'step' : null, 'data-step': name, title: next ? `for ${span(next[1] - at)}` : null },
      make('b', {}, STATES[name]), make('span', {}, text));
  });
  $('life').replaceChildren(
    make('p', { class: 'title' }, make('code', {}, room.name), room.kind === 'instant' ? 'an instant room: a record, and no room on Pexip' : 'a room on Pexip'),
    make('ol', { class: 'steps', 'aria-label': 'The room’s life' }, ...steps));
}

function drawSession() {
  const sessions = state.sessions;
  const session = sessions.find(({ id }) => id === chosenSession) ?? sessions[0];
  // The one that was just started may not be in the state yet.
  if (!(chosenSession > (sessions[0]?.id ?? 0))) chosenSession = session?.id ?? null;
  if (session && chosenRoom === null && session.id === chosenSession) chosenRoom = session.room;
  $('chosen').hidden = !session;
  $('no-session').hidden = Boolean(session);
  for (const button of document.querySelectorAll('[data-session]')) enable(button, Boolean(session));
  $('link').hidden = !session || link?.session !== session.id;
  if (!session) return;

  const pick = $('pick');
  const options = sessions.map(({ id, room, source, has_key }) => `${id}|${short(room)} · ${source}${has_key ? ' · with key' : ''}`);
  if (pick.dataset.options !== options.join()) {
    pick.dataset.options = options.join();
    pick.replaceChildren(...options.map((option) => make('option', { value: option.split('|')[0] }, option.split('|')[1])));
  }
  pick.value = String(session.id);
  const room = state.rooms.find(({ name }) => name === session.room);
  const people = room?.people ?? [];
  $('people').replaceChildren(...(people.length
    ? people.map(({ name, role }) => make('li', { 'data-role': role }, `${name || 'Somebody'}${role === 'host' ? ' (host)' : ''}`))
    : [make('li', { class: 'nobody' }, `Nobody is in: ${STATES[room?.state] ?? 'deleted'}.`)]));
  for (const anchor of document.querySelectorAll('[data-widget]')) anchor.href = `/widget/?room=${session.room}`;
  const opened = $('case');
  opened.hidden = session.is_own_case === null;
  opened.replaceChildren('The agent has opened ',
    make('b', { class: session.is_own_case ? '' : 'wrong' }, session.is_own_case ? '✓ the citizen’s own case' : '✗ another citizen’s case'));
}

function drawFaults() {
  for (const button of document.querySelectorAll('[data-fault]')) check(button, state.faults[button.dataset.fault]);
  for (const { name, is_running } of state.instances) check(document.querySelector(`[data-instance="${name}"]`), is_running);
  const any = Object.values(state.faults).some(Boolean) || state.instances.some(({ is_running }) => !is_running);
  $('mend').hidden = !any;
  enable($('restore'), state.has_backup);
  if (!busy.has($('when-empty'))) $('when-empty').value = state.mode.when_empty;
  for (const input of document.querySelectorAll('[name=source]')) {
    if (state.mode.source !== drawnSource) input.checked = input.value === state.mode.source;
  }
  drawnSource = state.mode.source;
}

function check(button, on) {
  button.setAttribute('aria-checked', String(Boolean(on)));
}

function drawNumbers() {
  const { creates, refused, deleted, exchanges, latencies } = state.counters;
  const of = (source) => creates[source] ?? 0;
  $('n-created').textContent = Object.values(creates).reduce((sum, count) => sum + count, 0);
  $('n-sources').textContent = ['pool', 'direct', 'instant'].map((source) => `${source}\u00a0${of(source)}`).join(' · ');
  $('n-refused').textContent = refused;
  $('n-deleted').textContent = deleted;
  $('n-exchanges').textContent = exchanges.toLocaleString('en');
  const last = latencies.at(-1);
  $('n-latency').textContent = last ? span(last[0]) : '–';
  const sorted = latencies.map(([ms]) => ms).sort((one, other) => one - other);
  $('n-latency-sub').textContent = last ? `last · median ${span(sorted[Math.floor(sorted.length / 2)])}` : 'none yet';
  const most = Math.max(...sorted, 1);
  const spark = $('spark');
  spark.setAttribute('viewBox', '0 0 80 32');
  spark.setAttribute('aria-label', last ? `Times of the last ${plural(sorted.length, 'create')}, up to ${span(most)}` : 'Times of creates: none yet');
  const step = 80 / Math.max(latencies.length, FEWEST_BARS);
  spark.replaceChildren(...latencies.map(([ms, source], at) => {
    const height = Math.max(1.5, (ms / most) * 30);
    return svg('rect', { x: 80 - (latencies.length - at - 0.15) * step, y: 32 - height, width: 0.7 * step, height, class: `bar-${source ?? 'none'}` });
  }));
}

// ---- the load's plot

function drawLoad() {
  $('no-load').hidden = Boolean(load);
  $('plot-figure').hidden = !load;
  if (!load) return;
  const results = [...load.results].sort((one, other) => one.ms - other.ms);
  const most = niceTop(Math.max(...results.map(({ ms }) => ms), 10));
  const [width, height, left, bottom] = [$('plot').clientWidth || 640, 220, 52, 22];
  const step = (width - left - 8) / load.creates;
  const y = (ms) => 10 + (height - bottom - 10) * (1 - ms / most);
  const plot = $('plot');
  plot.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const ticks = [0, most / 2, most].flatMap((ms) => [
    svg('line', { x1: left, x2: width - 8, y1: y(ms), y2: y(ms) }),
    svg('text', { x: left - 8, y: y(ms) + 4, 'text-anchor': 'end' }, ms === 0 ? '0' : span(ms)),
  ]);
  const bars = results.map(({ ms, source }, at) => svg('rect', {
    x: left + at * step + step * 0.12, width: step * 0.76, y: Math.min(y(ms), height - bottom - 2), height: Math.max(2, height - bottom - y(ms)),
    rx: 1.5, class: `bar-${source ?? 'none'}`,
  }));
  plot.replaceChildren(...ticks, ...bars, svg('text', { x: left, y: height - 6 }, load.is_running
    ? `${results.length} of ${load.creates} have an answer`
    : `${plural(load.creates, 'create')}, from the first answer to the last`));
  plot.setAttribute('aria-label', `What each of ${plural(results.length, 'create')} took, up to ${span(most)}; the table has the figures`);
  const rows = [['pool', 'Pool'], ['direct', 'Direct'], ['instant', 'Instant'], [null, 'Refused']].map(([source, name]) => {
    const times = results.filter((result) => (result.source ?? null) === source).map(({ ms }) => ms);
    const codes = source === null ? [...new Set(results.filter((result) => !result.source).map(({ code, status }) => code ?? status))].join(', ') : '';
    return make('tr', {}, make('th', { scope: 'row' }, make('span', { class: 'key', 'data-source': source ?? 'none' }), name, codes ? ` (${codes})` : ''),
      make('td', {}, String(times.length)), make('td', {}, times.length ? span(times[Math.floor(times.length / 2)]) : '–'),
      make('td', {}, times.length ? span(times.at(-1)) : '–'));
  });
  $('plot-rows').replaceChildren(...rows);
  $('plot-figure').dataset.running = load.is_running;
}

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= value);
}

window.addEventListener('resize', () => later('load'));

// ---- the buttons

function enable(button, can) {
  button.disabled = !can;
}

/** Sends an action; the button waits for its end. */
async function act(button, action, title = button.textContent.trim()) {
  if (busy.has(button)) return null;
  const hadFocus = document.activeElement === button;
  busy.add(button);
  // A choice can be made twice in the time that the first one takes, and the second would be lost.
  if (button.matches('select')) button.disabled = true;
  button.setAttribute('aria-busy', 'true');
  button.setAttribute('aria-disabled', 'true');
  let outcome;
  try {
    const answer = await fetch('/act', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(action) });
    outcome = answer.ok ? await answer.json() : { result: 'failed', text: `the sandbox answers ${answer.status}` };
  } catch {
    outcome = { result: 'failed', text: 'the sandbox gives no answer' };
  }
  busy.delete(button);
  if (button.matches('select')) button.disabled = false;
  button.removeAttribute('aria-busy');
  button.removeAttribute('aria-disabled');
  if (hadFocus && document.activeElement === document.body) button.focus({ preventScroll: true });
  if (outcome.session) {
    chosenSession = outcome.session;
    const room = () => state?.sessions?.find(({ id }) => id === outcome.session)?.room;
    chosenRoom = room() ?? null;
  }
  if (outcome.link) {
    link = { session: outcome.session, address: outcome.link };
    $('link-address').href = link.address;
    $('link-address').textContent = link.address;
  }
  say(outcome.result, `${title}: ${outcome.text || RESULTS[outcome.result]}.`);
  later('state');
  return outcome;
}

let outcomeTimer;

function say(result, text) {
  const outcome = $('outcome');
  outcome.dataset.result = result;
  outcome.textContent = text;
  // On a phone it lies over the page for a while.
  outcome.classList.add('is-new');
  clearTimeout(outcomeTimer);
  outcomeTimer = setTimeout(() => outcome.classList.remove('is-new'), 6_000);
}

for (const button of document.querySelectorAll('button[data-action]')) {
  button.addEventListener('click', () => {
    const { action, who } = button.dataset;
    const request = { action };
    if ('session' in button.dataset) request.session = chosenSession;
    if (who) request.who = who;
    if (action === 'start') {
      request.source = document.querySelector('[name=source]:checked').value;
      request.with_key = $('with-key').checked;
    }
    if (action === 'load') {
      request.source = document.querySelector('[name=source]:checked').value;
      request.creates = 50;
    }
    act(button, request);
  });
}
for (const button of document.querySelectorAll('[data-fault], [data-instance]')) {
  button.addEventListener('click', () => {
    const on = button.getAttribute('aria-checked') !== 'true';
    const { fault, instance } = button.dataset;
    if (fault) act(button, { action: 'fault', name: fault, on }, `${$(button.getAttribute('aria-labelledby')).firstChild.textContent}, ${on ? 'on' : 'off'}`);
    else act(button, { action: 'instance', name: instance, on }, `Instance ${instance}, ${on ? 'started' : 'killed'}`);
  });
}
$('mend').addEventListener('click', async () => {
  for (const [name, on] of Object.entries(state.faults)) if (on) await act($('mend'), { action: 'fault', name, on: false });
  for (const { name, is_running } of state.instances) if (!is_running) await act($('mend'), { action: 'instance', name, on: true });
});
$('when-empty').addEventListener('change', () => act($('when-empty'), { action: 'setting', source: null, when_empty: $('when-empty').value }, 'POOL_EMPTY'));
$('pick').addEventListener('change', () => {
  chosenSession = Number($('pick').value);
  chosenRoom = state.sessions.find(({ id }) => id === chosenSession)?.room ?? null;
  later('state');
});
$('copy').addEventListener('click', async () => {
  const copied = await navigator.clipboard?.writeText(link.address).then(() => true, () => false);
  if (!copied) getSelection().selectAllChildren($('link-address'));
  say(copied ? 'done' : 'failed', copied ? 'Copy the link: copied.' : 'Copy the link: the browser does not allow it; the link is marked.');
});
