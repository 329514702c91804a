// @ts-check
// One agent for http and https: connections are kept, the name of the target is asked for in TLS, and a request that is
// given up in the handshake takes its connection to the proxy along.
import { once } from 'node:events'
import { createServer, get as getHttp } from 'node:http'
import { createServer as createSecureServer, get as getHttps } from 'node:https'
import { createServer as createTcpServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { createSocksServer, SocksAgent } from 'tubesock'

// For this example alone: the key is public. One of your own: openssl req -x509 -newkey ec -pkeyopt
// ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=target -addext subjectAltName=DNS:localhost
const CERTIFICATE = `\
-----BEGIN CERTIFICATE-----
MIIBxTCCAWqgAwIBAgIUMQbfS4RHQu3IvagLGf+LX97nrXswCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNdHViZXNvY2sgdGVzdDAgFw0yNjExMjEwMzUxMDNaGA8yMTI2
MTAyODAzNTEwM1owGDEWMBQGA1UEAwwNdHViZXNvY2sgdGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABJ3jkytOUdlH8c1GG0CiwGnpJetD3yjQR+foFP7u8s4/
D+Ztb3MYR17b4LH9Gm4PTCGAVYxoNn8K7YTC8wRtTdyjgY8wgYwwHQYDVR0OBBYE
FHWuW8dzsB9gK5dCSYPzNfuxcrWHMB8GA1UdIwQYMBaAFHWuW8dzsB9gK5dCSYPz
NfuxcrWHMDkGA1UdEQQyMDCCDXByb3h5LmV4YW1wbGWCDnRhcmdldC5leGFtcGxl
gglsb2NhbGhvc3SHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJ
ADBGAiEAnOVlSiQ1VpnkmQ/L7VE+xXf3jF5pYNqVBc9BY8T6sRICIQDhiugCuEdb
mx2QVA0pCirPu+cELhIAkBIp/OCzZ0a5Pw==
-----END CERTIFICATE-----
`
const PRIVATE_KEY = `\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5vHyu7XwPmKyvjS6
vkD1Ce3Ms20mXZP/fqOr0YOjdJ6hRANCAASd45MrTlHZR/HNRhtAosBp6SXrQ98o
0Efn6BT+7vLOPw/mbW9zGEde2+Cx/RpuD0whgFWMaDZ/Cu2EwvMEbU3c
-----END PRIVATE KEY-----
`

/** @type {import('node:http').RequestListener} */
const page = (request, response) => response.end(`you asked for ${request.url} on ${request.headers.host}`)
const plain = createServer(page)
const secure = createSecureServer({ cert: CERTIFICATE, key: PRIVATE_KEY }, page)
const ports = [await listen(plain), await listen(secure)]

const proxy = createSocksServer()
const { port } = await proxy.listen(0)
proxy.on('established', ({ destination }) => console.log(`a tunnel to ${destination.host}:${destination.port}`))

const agent = new SocksAgent(`socks5h://127.0.0.1:${port}`, { keepAlive: true, ca: CERTIFICATE }, { timeoutMs: 5_000 })
for (const path of ['one', 'two', 'three']) {
  for (const [url, get] of /** @type {const} */ ([
    [`http://localhost:${ports[0]}/${path}`, getHttp],
    [`https://localhost:${ports[1]}/${path}`, getHttps],
  ])) {
    const [response] = await once(get(url, { agent }), 'response')
    console.log(await text(response))
  }
}
agent.destroy()

// A proxy that never answers.
const silent = createTcpServer((socket) => {
  socket.on('error', () => {})
  socket.on('close', () => console.log('the proxy saw the connection close'))
  socket.resume()
})
const nobody = new SocksAgent(`socks5h://127.0.0.1:${await listen(silent)}`)
const request = getHttp('http://target.example/', { agent: nobody, timeout: 200 })
request.on('timeout', () => request.destroy(new Error('waited long enough')))
const [error] = await once(request, 'error')
console.log(error.message)

for (const server of [plain, secure, silent]) server.close()
await proxy.close()

/**
 * Listens on a free port of loopback.
 * @param {import('node:net').Server} server
 */
async function listen(server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('it does not listen')
  return address.port
}
