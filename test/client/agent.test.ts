import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { createServer as createTlsServer } from 'node:tls'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { SocksAgent, type SocksAgentOptions } from '../../src/client/agent.js'
import { userPass } from '../../src/server/index.js'
import { type Peer, withProxy } from '../support/scripted-proxy.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'
import { echo, errorOf, fetchText, start, startHttp } from './http-target.js'
import { checkHygiene, PASSWORD, USER } from './hygiene.js'

const REFUSAL = '05 05 00 01 00 00 00 00 00 00'

/** What a proxy is asked for by one request, which it refuses: the bytes, and the Host header. */
async function asked(url: string, options: http.RequestOptions = {}): Promise<{ request: string; host: unknown }> {
  let bytes = ''
  const script = async (peer: Peer): Promise<void> => {
    await peer.greet()
    bytes = (await peer.readRequest()).toString('hex')
    peer.send(REFUSAL)
  }
  return withProxy(script, async (proxy) => {
    const request = start(url, { agent: new SocksAgent(proxy.url()), ...options })
    const host = request.getHeader('host')
    expect(codeOf(await errorOf(request.end()))).toBe('ERR_SOCKS_CONNECTION_REFUSED')
    return { request: bytes, host }
  })
}

const name = (host: string, port: string) => `050100030e${Buffer.from(host).toString('hex')}${port}`

describe('where a request goes', () => {
  it.each([
    ['http://target.example/', name('target.example', '0050'), 'target.example'],
    ['https://target.example/', name('target.example', '01bb'), 'target.example'],
    ['http://target.example:443/', name('target.example', '01bb'), 'target.example:443'],
    ['https://target.example:80/', name('target.example', '0050'), 'target.example:80'],
    ['http://[::1]:8080/', `05010004${'00'.repeat(15)}011f90`, '[::1]:8080'],
    ['http://127.0.0.1:8080/', '050100017f0000011f90', '127.0.0.1:8080'],
  ])('%s: the proxy is asked for it, and the Host header is what Node would say', async (url, request, host) => {
    expect(await asked(url)).toEqual({ request, host })
  })

  it.each([
    [{ host: 'target.example' }, '0050', 'target.example'],
    [{ host: 'target.example', port: 80 }, '0050', 'target.example'],
    [{ host: 'target.example', port: '8080' }, '1f90', 'target.example:8080'],
    [{ hostname: 'target.example', defaultPort: 81 }, '0051', 'target.example'],
  ])('options %j', async (options, port, host) => {
    expect(await asked('http://ignored.example/', { port: null, hostname: null, ...options })).toEqual({
      request: name('target.example', port),
      host,
    })
  })

  it('is known to http.get and https.get, and to code that has changed how stacks are made', async () => {
    const { prepareStackTrace, stackTraceLimit } = Error
    Error.prepareStackTrace = () => 'no stack'
    Error.stackTraceLimit = 0
    const agent = new SocksAgent('socks5h://127.0.0.1:1')
    try {
      const requests = [http.get('http://target.example/', { agent }), https.get('https://target.example/', { agent })]
      expect(requests.map((request) => request.getHeader('host'))).toEqual(['target.example', 'target.example'])
      expect(Error.stackTraceLimit).toBe(0)
      expect(new Error('none').stack).toBe('no stack')
      for (const request of requests) request.on('error', () => {}).destroy()
    } finally {
      Object.assign(Error, { prepareStackTrace, stackTraceLimit })
    }
  })

  it('is no default of the agent where nobody makes a request', () => {
    const agent = new SocksAgent('socks5h://127.0.0.1:1')
    expect(agent).toMatchObject({ protocol: undefined, defaultPort: 80 })
  })

  it('refuses http.request for an https URL, as Node does', () => {
    const agent = new SocksAgent('socks5h://127.0.0.1:1')
    expect(() => http.request('https://target.example/', { agent })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_PROTOCOL' }),
    )
  })
})

describe('one agent for both', () => {
  it('serves http and https', async () => {
    const [plain, secure] = [await startHttp(), await startHttp(echo, { secure: true })]
    const { port } = await startServer()
    const agent = new SocksAgent(`socks5h://127.0.0.1:${port}`, { rejectUnauthorized: false })
    const hosts = [`127.0.0.1:${plain.port}`, `127.0.0.1:${secure.port}`]
    expect(await fetchText(`http://${hosts[0]}/a`, { agent })).toBe(`GET /a ${hosts[0]}`)
    expect(await fetchText(`https://${hosts[1]}/b`, { agent })).toBe(`GET /b ${hosts[1]}`)
  })

  it('can take the place of both global agents', async () => {
    const [plain, secure] = [await startHttp(), await startHttp(echo, { secure: true })]
    const { server, port } = await startServer()
    let sessions = 0
    server.on('session', () => sessions++)
    const globals = [http.globalAgent, https.globalAgent] as const
    const agent = new SocksAgent(`socks5h://127.0.0.1:${port}`, { rejectUnauthorized: false })
    http.globalAgent = agent
    https.globalAgent = agent
    try {
      expect(await fetchText(`http://127.0.0.1:${plain.port}/a`)).toContain('GET /a')
      expect(await fetchText(`https://127.0.0.1:${secure.port}/b`)).toContain('GET /b')
      // Node would make another agent like it, which would know no proxy: better none than one past the proxy.
      expect(() => http.request(`http://127.0.0.1:${plain.port}/`, { agent: false })).toThrow()
    } finally {
      ;[http.globalAgent, https.globalAgent] = globals
    }
    expect(sessions).toBe(2)
  })

  it('goes through a chain, each hop asked for the next', async () => {
    const target = await startHttp()
    const [first, second] = [await startServer(), await startServer()]
    const asked: string[] = []
    for (const { server } of [first, second]) {
      server.on('request', ({ destination }) => asked.push(`${destination.host}:${destination.port}`))
    }
    const agent = new SocksAgent([first.port, second.port].map((port) => `socks5h://127.0.0.1:${port}`))
    const url = `http://127.0.0.1:${target.port}/chained`
    expect(await fetchText(url, { agent })).toContain('GET /chained')
    expect(asked).toEqual([`127.0.0.1:${second.port}`, `127.0.0.1:${target.port}`])
  })

  it('hands its third argument to the client', async () => {
    const target = await startHttp()
    const names: unknown[] = []
    const { port } = await startServer({
      auth: userPass((username) => names.push(username) > 0),
    })
    const hops: unknown[] = []
    const agent = new SocksAgent(
      `socks5h://127.0.0.1:${port}`,
      {},
      { isolate: true, onHop: ({ target }) => hops.push(target) },
    )
    for (const path of ['a', 'b']) await fetchText(`http://127.0.0.1:${target.port}/${path}`, { agent })
    expect(hops).toEqual([`127.0.0.1:${target.port}`, `127.0.0.1:${target.port}`])
    expect(new Set(names).size).toBe(2)
  })
})

describe('arguments', () => {
  const url = 'socks5h://127.0.0.1:1080'

  it.each([
    ['timeoutMs', 'third argument'],
    ['isolate', 'third argument'],
    ['lookup', 'third argument'],
    ['localAddress', 'third argument'],
    ['proxy', 'first argument'],
    ['host', 'each request'],
    ['protocol', 'each request'],
    ['defaultPort', 'option of the request'],
    ['socketPath', 'Unix socket'],
    ['socket', 'tunnel'],
  ])('refuses option %s of the agent and says where it belongs', (key, advice) => {
    const options: SocksAgentOptions = { [key]: 'x' }
    expect(() => new SocksAgent(url, options)).toThrow(advice)
    expect(() => new SocksAgent(url, { [key]: undefined })).not.toThrow()
  })

  it.each([
    ['a URL that is none', () => new SocksAgent('http://127.0.0.1'), 'ERR_SOCKS_INVALID_PROXY'],
    ['no proxy at all', () => new SocksAgent([]), 'ERR_SOCKS_INVALID_PROXY'],
    [
      'an unknown option of the client',
      () => new SocksAgent(url, {}, { timeout: 1 } as object),
      'ERR_INVALID_ARG_VALUE',
    ],
    ['a proxy twice', () => new SocksAgent(url, {}, { proxy: url } as object), 'ERR_INVALID_ARG_VALUE'],
    ['a time that is none', () => new SocksAgent(url, {}, { timeoutMs: -1 }), 'ERR_OUT_OF_RANGE'],
    ['null for options', () => new SocksAgent(url, null as never), 'ERR_INVALID_ARG_VALUE'],
    ['null for options of the client', () => new SocksAgent(url, {}, null as never), 'ERR_INVALID_ARG_VALUE'],
  ])('refuses %s before any I/O', (_what, make, code) => {
    expect(make).toThrow(expect.objectContaining({ code }))
  })

  it('leaves the objects of the caller as they are, and does not see what becomes of them', async () => {
    const target = await startHttp()
    const { port } = await startServer()
    const proxies = [`socks5h://127.0.0.1:${port}`]
    const options = Object.freeze({ keepAlive: true })
    const agent = new SocksAgent(Object.freeze(proxies.slice()), options, Object.freeze({ timeoutMs: 5_000 }))
    const request = Object.freeze({ agent, headers: Object.freeze({ a: 'b' }) })
    expect(await fetchText(`http://127.0.0.1:${target.port}/`, request)).toContain('GET /')
    agent.destroy()
  })

  it.each([
    [{ socketPath: '/run/docker.sock' }, 'ERR_INVALID_ARG_VALUE'],
    [{ localAddress: '127.0.0.2' }, 'ERR_INVALID_ARG_VALUE'],
    [{ port: 70_000 }, 'ERR_OUT_OF_RANGE'],
    [{ hostname: '127.1' }, 'ERR_SOCKS_INVALID_HOST'],
    [{ hostname: 'a..b' }, 'ERR_SOCKS_INVALID_HOST'],
  ])('a request with %j fails, by itself, and goes nowhere', async (options, code) => {
    await withProxy(
      () => {},
      async (proxy) => {
        const agent = new SocksAgent(proxy.url())
        for (const secure of [false, true]) {
          const request = start(`http${secure ? 's' : ''}://127.0.0.1/`, {
            ...options,
            agent,
          })
          expect(codeOf(await errorOf(request.end()))).toBe(code)
        }
        expect(proxy.peers).toHaveLength(0)
      },
    )
  })

  it('a request with TLS options that are none fails, by itself', async () => {
    const agent = new SocksAgent(url, { maxSockets: 1 })
    const options = { agent, ca: 'no certificate', minVersion: 'TLSv9' as never }
    const requests = [start('https://a.example/', options), start('https://a.example/', options)]
    // The second one waits for the first one's place.
    const errors = await Promise.all(requests.map((request) => errorOf(request.end())))
    expect(errors.map(codeOf)).toEqual(['ERR_TLS_INVALID_PROTOCOL_VERSION', 'ERR_TLS_INVALID_PROTOCOL_VERSION'])
    expect(() => agent.createConnection({ protocol: 'https:', ...options })).toThrow('TLSv9')
  })

  it('prints no password: not the agent, its pools, nor its errors', async () => {
    const target = await startHttp()
    const { port } = await startServer({
      auth: userPass({ [USER]: PASSWORD }),
    })
    const agent = new SocksAgent(`socks5h://${USER}:${PASSWORD}@127.0.0.1:${port}`, { keepAlive: true })
    await fetchText(`http://127.0.0.1:${target.port}/`, { agent })
    for (const value of [agent, agent.freeSockets, agent.getName({ host: 'a' })]) {
      const printed = inspect(value, { depth: 6, showHidden: true })
      expect(printed).not.toContain(PASSWORD)
      expect(printed).not.toContain(USER)
    }
    agent.destroy()
    const wrong = new SocksAgent(`socks5h://${USER}:${PASSWORD}x@127.0.0.1:${port}`)
    const error = await errorOf(start(`http://127.0.0.1:${target.port}/`, { agent: wrong }).end())
    checkHygiene(error)
    expect(codeOf(error)).toBe('ERR_SOCKS_AUTH_FAILED')
  })
})

describe('proxies', () => {
  it('over TLS and at a Unix socket serve requests, too', async () => {
    const plain = await startHttp()
    const secure = await startHttp(echo, { secure: true })
    const { server } = await startServer()

    const directory = mkdtempSync(join(tmpdir(), 'tubesock-'))
    const path = join(directory, 'proxy.sock')
    const unix = createServer({ allowHalfOpen: true }, (socket) =>
      server.handle(socket, { clientAddress: '127.0.0.1' }),
    )
    const tls = createTlsServer({ cert: CERTIFICATE, key: PRIVATE_KEY, allowHalfOpen: true }, (socket) =>
      server.handle(socket, { clientAddress: '127.0.0.1' }),
    )
    unix.listen(path)
    tls.listen(0, '127.0.0.1')
    await Promise.all([once(unix, 'listening'), once(tls, 'listening')])
    cleanup(() => rmSync(directory, { recursive: true }))
    for (const listener of [unix, tls]) cleanup(() => listener.close())
    const address = tls.address()
    if (address === null || typeof address === 'string') throw new Error('no port')

    for (const proxy of [{ path }, { host: '127.0.0.1', port: address.port, tls: { ca: CERTIFICATE } }]) {
      const agent = new SocksAgent(proxy, { keepAlive: true, ca: CERTIFICATE })
      for (const _ of [1, 2]) {
        expect(await fetchText(`http://127.0.0.1:${plain.port}/a`, { agent })).toContain('GET /a')
        expect(await fetchText(`https://127.0.0.1:${secure.port}/b`, { agent })).toContain('GET /b')
      }
      agent.destroy()
    }
    expect([plain.sockets.length, secure.sockets.length]).toEqual([2, 2])
  })
})

describe('createConnection', () => {
  it('gives a stream at once, for libraries that want one', async () => {
    const [plain, secure] = [await startHttp(), await startHttp(echo, { secure: true })]
    const { port } = await startServer()
    const agent = new SocksAgent(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE })
    for (const [protocol, target] of [['http:', plain] as const, ['https:', secure] as const]) {
      // TLS has the options of the agent.
      const stream = agent.createConnection({ protocol, host: '127.0.0.1', port: target.port })
      stream.end('GET /own HTTP/1.0\r\n\r\n')
      expect(await text(stream)).toContain('GET /own')
    }
    expect(agent.sockets).toEqual({})
  })

  it('emits its failure, and survives when nobody listens', async () => {
    const agent = new SocksAgent('socks5h://127.0.0.1:1')
    for (const protocol of ['http:', 'https:']) {
      const stream = agent.createConnection({ protocol, host: 'target.example', port: 80 })
      expect(await once(stream, 'error')).toMatchObject([{ code: 'ERR_SOCKS_PROXY_UNREACHABLE' }])
      const alone = agent.createConnection({ protocol, host: 'target.example', port: 80 })
      await new Promise((resolve) => alone.once('close', resolve))
      expect(alone.destroyed).toBe(true)
    }
  })
})
