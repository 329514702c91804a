// @ts-check
// SOCKS and an HTTP proxy on one port, with one set of rules: the HTTP server takes what is no SOCKS, and goes out by the
// same way.
import { once } from 'node:events'
import { createServer, get, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { createSocksServer, isSocksError, relay, SocksClient } from 'tubesock'

// A site to go to.
const site = createServer((_request, response) => response.end('the site')).listen(0, '127.0.0.1')
await once(site, 'listening')
const siteAt = `127.0.0.1:${portOf(site)}`

/** @type {WeakMap<import('node:stream').Duplex, import('tubesock').Session>} */
const sessions = new WeakMap()
const http = createServer()
// A server that does not listen has no timer for requests that never end.
http.timeout = 60_000

const server = createSocksServer({
  socks4: true,
  authorize: ({ host }) => host !== 'denied.example',
  fallback: (socket, session) => {
    sessions.set(socket, session)
    http.emit('connection', socket)
  },
})

// Who asks decides what may be reached: hand on the session, never the address alone.
/** @param {import('node:stream').Duplex} socket @param {string} host @param {number} port */
function goTo(socket, host, port) {
  const session = sessions.get(socket)
  return server.outbound.connect({ host, port, session, clientAddress: session?.clientAddress })
}

/** @param {unknown} error */
function statusOf(error) {
  return isSocksError(error) && error.replyCode === 2 ? 403 : 502
}

http.on('request', async (incoming, answer) => {
  try {
    const url = new URL(incoming.url ?? '')
    const { stream } = await goTo(incoming.socket, url.hostname, Number(url.port || 80))
    const { method, headers } = incoming
    const path = url.pathname + url.search
    const outgoing = request({ method, path, headers, createConnection: () => stream }, (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers)
      response.pipe(answer)
    })
    outgoing.on('error', () => answer.destroy())
    incoming.pipe(outgoing)
  } catch (error) {
    answer.writeHead(statusOf(error)).end()
  }
})

http.on('connect', async (incoming, socket, head) => {
  try {
    const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(incoming.url ?? '') ?? []
    const { stream } = await goTo(socket, host, Number(port))
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
    // What the client has sent early goes through the tunnel first.
    socket.unshift(head)
    relay(socket, stream)
  } catch (error) {
    socket.end(`HTTP/1.1 ${statusOf(error)} No\r\nContent-Length: 0\r\n\r\n`)
  }
})

const { port } = await server.listen(0)
console.log(`one port for all: 127.0.0.1:${port}`)

// SOCKS5.
const { socket } = await SocksClient.connect({
  proxy: `socks5h://127.0.0.1:${port}`,
  host: '127.0.0.1',
  port: portOf(site),
})
console.log('SOCKS5:', await fetchBy(() => socket))

// An HTTP proxy, as `http_proxy` makes programs use it.
const [page] = await once(get({ port, host: '127.0.0.1', path: `http://${siteAt}/`, agent: false }), 'response')
console.log('HTTP:', await text(page))

// And as `https_proxy` does.
const [, tunnel] = await once(request({ port, host: '127.0.0.1', method: 'CONNECT', path: siteAt }).end(), 'connect')
console.log('CONNECT:', await fetchBy(() => tunnel))

// One rule for all of them.
const wish = { port, host: '127.0.0.1', path: 'http://denied.example/', agent: false }
const [refused] = await once(get(wish), 'response')
console.log('HTTP to denied.example:', refused.resume().statusCode)
await SocksClient.connect({ proxy: `socks5h://127.0.0.1:${port}`, host: 'denied.example', port: 80 }).catch((error) => {
  console.log('SOCKS5 to denied.example:', error.code)
})

await server.close()
site.close()

/** @param {() => import('node:stream').Duplex} createConnection */
async function fetchBy(createConnection) {
  const [response] = await once(get({ host: siteAt, createConnection }), 'response')
  return text(response)
}

/** @param {import('node:net').Server} listener */
function portOf(listener) {
  const address = listener.address()
  if (typeof address !== 'object' || address === null) throw new Error('it does not listen')
  return address.port
}
