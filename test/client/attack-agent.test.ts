import type { AgentOptions } from 'node:https'
import { Duplex } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { SocksAgent, type SocksAgentOptions } from '../../src/client/agent.js'
import { customMethod } from '../../src/client/auth-method.js'
import { SocksClient } from '../../src/client/client.js'
import { socksConnector } from '../../src/client/connector.js'
import { customAuth } from '../../src/server/index.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'
import { echo, errorOf, fetchText, start, startHttp } from './http-target.js'
import { undicis } from './undici.js'

/** An agent that is destroyed with the test. */
function agentFor(...values: ConstructorParameters<typeof SocksAgent>): SocksAgent {
  const agent = new SocksAgent(...values)
  cleanup(() => agent.destroy())
  return agent
}

describe('C134 the name of a pool', () => {
  const agent = new SocksAgent('socks5h://127.0.0.1:1')
  const named = (options: object) => agent.getName({ host: 'a.example', port: 443, protocol: 'https:', ...options })
  const pairs: { readonly [what: string]: readonly [object, object] } = {
    'bundles with a passphrase': [{ pfx: [{ buf: Buffer.from('a') }] }, { pfx: [{ buf: Buffer.from('b') }] }],
    'keys with a passphrase': [{ key: [{ pem: 'a' }] }, { key: [{ pem: 'b' }] }],
    'bundles of bytes that are no text': [{ pfx: Buffer.of(0xfe) }, { pfx: Buffer.of(0xff) }],
    passphrases: [{ passphrase: 'a' }, { passphrase: 'b' }],
    'identities of a shared key': [{ pskCallback: () => null }, { pskCallback: () => null }],
    'trust in a part of a chain': [{ allowPartialTrustChain: true }, {}],
    'least sizes of a key exchange': [{ minDHSize: 1024 }, { minDHSize: 4096 }],
    'judges of certificates': [{ checkServerIdentity: () => undefined }, { checkServerIdentity: () => undefined }],
    'contexts of TLS': [{ secureContext: {} }, { secureContext: {} }],
    'protocols as a view of bytes': [
      { ALPNProtocols: new DataView(Uint8Array.of(1, 97).buffer) },
      { ALPNProtocols: new DataView(Uint8Array.of(1, 98).buffer) },
    ],
  }

  it.each(Object.entries(pairs))('tells apart %s', (_what, [one, other]) => {
    expect(named(one)).toBe(named(one))
    expect(named(one)).not.toBe(named(other))
  })

  it('shows no private key and no passphrase', () => {
    const names = [
      named({ key: PRIVATE_KEY, passphrase: 'open sesame' }),
      named({ key: [{ pem: PRIVATE_KEY, passphrase: 'open sesame' }] }),
      named({ pfx: Buffer.from('private bundle') }),
    ]
    for (const name of names) expect(name).not.toMatch(/PRIVATE|open sesame|bundle/)
  })

  it('can be made where an option is null', async () => {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer()
    const options = { agent: agentFor(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE }), secureContext: null }
    expect(await fetchText(`https://127.0.0.1:${target.port}/`, options as object)).toContain('GET /')
  })
})

describe('a judge of certificates', () => {
  const judges: { readonly [how: string]: () => unknown } = {
    'that throws': () => {
      throw new Error('judged')
    },
    'that throws nothing at all': () => {
      throw undefined
    },
    'that is async and rejects': async () => {
      throw new Error('judged')
    },
    'that is async and agrees': async () => undefined,
    'that returns text': () => 'judged',
  }

  it.each(Object.entries(judges))('%s refuses, and ends no process', async (_how, judge) => {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer()
    // Node's type knows no such judges.
    const tls = { ca: CERTIFICATE, checkServerIdentity: judge } as AgentOptions as SocksAgentOptions
    const [proxy, url] = [`socks5h://127.0.0.1:${port}`, `https://127.0.0.1:${target.port}/`]
    expect(await errorOf(start(url, { agent: agentFor(proxy, tls) }).end())).toBeInstanceOf(Error)
    for (const { undici } of undicis) {
      const dispatcher = new undici.Agent({ connect: socksConnector(proxy, tls as object) })
      cleanup(() => dispatcher.destroy())
      await expect(undici.fetch(url, { dispatcher })).rejects.toHaveProperty('cause')
    }
    const overTls = { host: '127.0.0.1', port: target.port, tls: tls as object }
    await expect(SocksClient.connect({ proxy: overTls, host: 'a.example', port: 1 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
    })
    expect(target.sockets.length).toBeGreaterThan(0)
  })

  it('that is undefined leaves the judgement to Node', async () => {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer()
    const agent = agentFor(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE })
    const options = { agent, checkServerIdentity: undefined }
    expect(await fetchText(`https://127.0.0.1:${target.port}/`, options)).toContain('GET /')
    const request = start(`https://127.0.0.1:${target.port}/`, { ...options, servername: 'other.example' })
    expect(codeOf(await errorOf(request.end()))).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
  })
})

describe('maxTotalSockets', () => {
  it.each([false, true])(
    'a request whose TLS cannot begin lets the next one go on; keepAlive %s',
    async (keepAlive) => {
      const target = await startHttp(echo, { secure: true })
      const { port } = await startServer()
      const agent = agentFor(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE, maxTotalSockets: 1, keepAlive })
      const url = `https://127.0.0.1:${target.port}/`
      const first = fetchText(url, { agent })
      const wrong = errorOf(start(url, { agent, minVersion: 'TLSv9' as never }).end())
      const others = ['target.example', 'localhost'].map((servername) => fetchText(url, { agent, servername }))
      expect(codeOf(await wrong)).toBe('ERR_TLS_INVALID_PROTOCOL_VERSION')
      for (const text of await Promise.all([first, ...others])) expect(text).toContain('GET /')
    },
  )
})

/** A stream of no special kind around another: what a method of encryption would make. */
function around(inner: Duplex): Duplex {
  const outer = new Duplex({
    read: () => inner.resume(),
    write: (chunk, _encoding, done) => inner.write(chunk, () => done()),
    final: (done) => inner.end(() => done()),
    destroy: (error, done) => {
      inner.destroy()
      done(error)
    },
  })
  inner.on('data', (chunk) => outer.push(chunk) || inner.pause())
  inner.on('end', () => outer.push(null))
  inner.on('close', () => outer.destroy())
  return outer
}

describe('C136 a method that wraps the connection in what is no socket', () => {
  const wrapping = customMethod(0x80, () => ({ wrap: around }))

  it.each(['http', 'https'])('serves requests of %s, whatever they set on it', async (scheme) => {
    const target = await startHttp(echo, { secure: scheme === 'https' })
    const { port } = await startServer({ auth: customAuth(0x80, () => ({ identity: {} })) })
    const agent = agentFor({ host: '127.0.0.1', port, auth: wrapping }, { ca: CERTIFICATE, keepAlive: true })
    const url = `${scheme}://127.0.0.1:${target.port}/`
    for (const _ of [1, 2]) expect(await fetchText(url, { agent })).toContain('GET /')
    expect(target.sockets).toHaveLength(1)
    const [idle] = Object.values(agent.freeSockets)[0] ?? []
    idle?.ref().unref().setNoDelay().setKeepAlive(true)
    expect([idle?.remoteAddress, idle?.address()]).toEqual([undefined, {}])
  })
})

it.each(['constructor', 'toString', '__proto__'])('an option of the name %s is Node’s business', (name) => {
  const options = JSON.parse(`{ "${name}": 1 }`)
  expect(new SocksAgent('socks5h://127.0.0.1:1', options)).toBeInstanceOf(SocksAgent)
})

it('a host that is no text is the error of the stream, with TLS and without', async () => {
  for (const protocol of ['http:', 'https:']) {
    const stream = agentFor('socks5h://127.0.0.1:1').createConnection({ protocol, host: 5 as never, port: 1 })
    const error = await new Promise((resolve) => stream.once('error', resolve))
    expect(codeOf(error)).toBe('ERR_INVALID_ARG_VALUE')
  }
})
