import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { type Script, withProxy } from '../support/scripted-proxy.js'
import { cleanup } from '../support/servers.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'
import { failure } from './hygiene.js'

const TARGET = { host: 'example.com', port: 443 }
const QUESTION = "does the proxy want the option 'tls'?"

describe('a proxy that says nothing', () => {
  it('because it waits for TLS: the timeout asks whether it does', async () => {
    const proxy = createTlsServer({ cert: CERTIFICATE, key: PRIVATE_KEY })
    proxy.on('connection', (socket) => cleanup(() => socket.destroy()))
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    cleanup(() => proxy.close())
    // `as`: it listens on TCP.
    const { port } = proxy.address() as AddressInfo
    for (const userinfo of ['', 'user:pw@']) {
      const attempt = SocksClient.connect({
        proxy: `socks5h://${userinfo}127.0.0.1:${port}`,
        ...TARGET,
        timeoutMs: 200,
      })
      expect((await failure(attempt, 'ERR_SOCKS_TIMEOUT')).message).toContain(QUESTION)
    }
  })

  it('as the second of a chain, too', async () => {
    await withProxy(
      async (peer) => void (await peer.open()),
      async (proxy) => {
        const chain = [proxy.url(), 'socks5h://second.example']
        const attempt = SocksClient.connect({ proxy: chain, ...TARGET, timeoutMs: 100 })
        const { hop, message } = await failure(attempt, 'ERR_SOCKS_TIMEOUT')
        expect([hop, message]).toEqual([1, expect.stringContaining(QUESTION)])
      },
    )
  })
})

describe('the question is not asked', () => {
  it.each<[string, Script, object]>([
    ['when half an answer came', (peer) => peer.send('05'), {}],
    ['when it was the target that did not answer', async (peer) => void (await peer.greet()), {}],
    ['when the proxy is given up for its reading singly', () => {}, { optimistic: true }],
  ])('%s', async (_name, script, options) => {
    await withProxy(script, async (proxy) => {
      const attempt = SocksClient.connect({ proxy: proxy.url(), ...TARGET, ...options, timeoutMs: 200 })
      expect((await failure(attempt, 'ERR_SOCKS_TIMEOUT')).message).not.toContain(QUESTION)
    })
  })

  it('when the proxy is spoken to in TLS already', async () => {
    const proxy = createServer((socket) => cleanup(() => socket.destroy()))
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    cleanup(() => proxy.close())
    // `as`: it listens on TCP.
    const { port } = proxy.address() as AddressInfo
    const options = { proxy: { host: '127.0.0.1', port, tls: true }, ...TARGET, timeoutMs: 100 }
    const { message } = await failure(SocksClient.connect(options), 'ERR_SOCKS_TIMEOUT')
    expect(message).not.toContain(QUESTION)
  })
})
