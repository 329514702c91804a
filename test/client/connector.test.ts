import { once } from 'node:events'
import { createSecureServer } from 'node:http2'
import type { LookupFunction } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { buildConnector as Six } from 'undici6'
import type { buildConnector as Seven } from 'undici7'
import type { buildConnector as Eight } from 'undici8'
import { describe, expect, it } from 'vitest'
import { type ConnectorRequest, socksConnector } from '../../src/client/connector.js'
import { userPass } from '../../src/server/index.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { type Script, SUCCESS, withProxy } from '../support/scripted-proxy.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'
import { echo, startHttp } from './http-target.js'
import { checkHygiene, MARK } from './hygiene.js'
import { undicis } from './undici.js'

const lookup: LookupFunction = (_host, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }])

/** What a connector calls back with. */
function dial(connect: ReturnType<typeof socksConnector>, request: Partial<ConnectorRequest> = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const whole = { hostname: 'target.example', protocol: 'http:', port: '', ...request }
    let calls = 0
    connect(whole, (error, socket) => {
      if (++calls > 1) throw new Error('called back twice')
      if (error !== null) reject(error)
      else {
        cleanup(() => socket.destroy())
        resolve(socket as TLSSocket) // tests of TLS ask for it
      }
    })
  })
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

describe.each(undicis)('undici $major', ({ undici }) => {
  it('fetches http and https, and reuses connections', async () => {
    const targets = [await startHttp(), await startHttp(echo, { secure: true })]
    const { server, port } = await startServer({ lookup })
    let sessions = 0
    server.on('session', () => sessions++)
    const connect = socksConnector(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE })
    // Without the limit undici may want a second one before it has seen that the first is free.
    const dispatcher = new undici.Agent({ connect, connections: 1 })
    cleanup(() => dispatcher.destroy())
    for (let round = 0; round < 10; round++) {
      for (const [index, target] of targets.entries()) {
        const origin = `http${index === 1 ? 's' : ''}://target.example:${target.port}`
        const response = await undici.fetch(`${origin}/path`, { dispatcher })
        expect(await response.text()).toBe(`GET /path target.example:${target.port}`)
      }
    }
    expect(sessions).toBe(2)
    expect(targets[1]?.names).toEqual(['target.example'])
  })

  it('speaks HTTP/2 where both sides are told to', async () => {
    const target = createSecureServer(
      { cert: CERTIFICATE, key: PRIVATE_KEY, allowHTTP1: true },
      (request, response) => {
        response.end(request.httpVersion)
      },
    )
    target.listen(0, '127.0.0.1')
    await once(target, 'listening')
    cleanup(() => target.close())
    const address = target.address()
    const url = `https://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/`
    const { port } = await startServer()
    const versions: string[] = []
    for (const ALPNProtocols of [undefined, ['h2', 'http/1.1']]) {
      const connect = socksConnector(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE, ALPNProtocols })
      const dispatcher = new undici.Agent({ connect, allowH2: true })
      versions.push(await (await undici.fetch(url, { dispatcher })).text())
      await dispatcher.destroy()
    }
    expect(versions).toEqual(['1.1', '2.0'])
  })

  it('its error is the cause of what fetch rejects with', async () => {
    await withProxy(refuse, async (proxy) => {
      const dispatcher = new undici.Agent({ connect: socksConnector(proxy.url()) })
      const error = await failure(undici.fetch('http://target.example/', { dispatcher }))
      expect(error).toMatchObject({ cause: { name: 'SocksError', code: 'ERR_SOCKS_CONNECTION_REFUSED', hop: 0 } })
      await dispatcher.destroy()
    })
  })

  it('a fetch that is aborted rejects at once; the handshake goes on until its timeout, and leaves nothing', async () => {
    await withProxy(
      () => {},
      async (proxy) => {
        const before = descriptors()
        const dispatcher = new undici.Agent({ connect: socksConnector(proxy.url(), {}, { timeoutMs: 300 }) })
        const aborter = new AbortController()
        const fetched = failure(undici.fetch('http://target.example/', { dispatcher, signal: aborter.signal }))
        await proxy.connections(1)
        aborter.abort()
        expect(await fetched).toMatchObject({ name: 'AbortError' })
        await proxy.peers[0]?.closed
        await dispatcher.destroy()
        expect(await settlesAt(descriptors, before)).toBe(before)
      },
    )
  })

  it('a dispatcher that is destroyed in the handshake leaves nothing either', async () => {
    for (const answers of [false, true]) {
      let answer = () => {}
      const answered = deferred()
      const script: Script = async (peer) => {
        await peer.greet()
        await peer.readRequest()
        answer = () => peer.send(SUCCESS)
        if (answers) answered.resolve()
      }
      await withProxy(script, async (proxy) => {
        const before = descriptors()
        const dispatcher = new undici.Agent({ connect: socksConnector(proxy.url(), {}, { timeoutMs: 500 }) })
        const fetched = failure(undici.fetch('http://target.example/', { dispatcher }))
        await proxy.connections(1)
        if (answers) await answered.promise
        const destroyed = dispatcher.destroy()
        answer()
        expect(await fetched).toBeInstanceOf(Error)
        await destroyed
        await proxy.peers[0]?.closed
        expect(await settlesAt(descriptors, before)).toBe(before)
      })
    }
  })
})

describe('socksConnector', () => {
  it('fits the types of every major', () => {
    const connect = socksConnector('socks5h://127.0.0.1')
    const fits: [Six.connector, Seven.connector, Eight.connector] = [connect, connect, connect]
    expect(fits).toHaveLength(3)
  })

  it.each([
    ['http:', '', '0050'],
    ['https:', '', '01bb'],
    ['http:', '8080', '1f90'],
  ])('%s with port %j', async (protocol, port, hex) => {
    let asked = ''
    const script: Script = async (peer) => {
      await peer.greet()
      asked = (await peer.readRequest()).toString('hex')
      peer.end()
    }
    await withProxy(script, async (proxy) => {
      await failure(dial(socksConnector(proxy.url()), { protocol, port }))
      expect(asked).toBe(`050100030e${Buffer.from('target.example').toString('hex')}${hex}`)
      await failure(dial(socksConnector(proxy.url()), { hostname: '::1', protocol, port }))
      expect(asked).toBe(`05010004${'00'.repeat(15)}01${hex}`)
    })
  })

  it('C143 asks for the name of the target and no other, for HTTP/1.1, and checks who answers', async () => {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer({ lookup })
    const url = `socks5h://127.0.0.1:${port}`
    const to = { protocol: 'https:', port: String(target.port) }
    const connect = socksConnector(url, { ca: CERTIFICATE })
    const socket = await dial(connect, to)
    expect(socket).toMatchObject({ authorized: true, alpnProtocol: 'http/1.1', allowHalfOpen: false })
    expect((await dial(connect, { ...to, hostname: '127.0.0.1' })).authorized).toBe(true)
    // A Host header of its own, of which undici tells; and a name of the caller's.
    await dial(connect, { ...to, hostname: '127.0.0.1', servername: 'proxy.example' })
    await dial(socksConnector(url, { ca: CERTIFICATE, servername: 'localhost' }), {
      ...to,
      servername: 'proxy.example',
    })
    // The target's side of the last handshake ends a moment later.
    await settlesAt(() => target.names.length, 4)
    expect(target.names).toEqual(['target.example', false, 'proxy.example', 'localhost'])
    expect(codeOf(await failure(dial(socksConnector(url), to)))).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
    const other = await failure(dial(connect, { ...to, hostname: 'other.example' }))
    expect(codeOf(other)).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
  })

  it('resumes no session', async () => {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer({ lookup })
    const connect = socksConnector(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE })
    for (const _ of [1, 2, 3]) {
      const socket = await dial(connect, { protocol: 'https:', port: String(target.port) })
      expect(socket.isSessionReused()).toBe(false)
      socket.end('GET / HTTP/1.0\r\n\r\n').resume()
      await once(socket, 'end')
    }
  })

  it('C134 uses its own credentials, fresh ones for each connection with isolate', async () => {
    const users: string[] = []
    const { port } = await startServer({ auth: userPass((username) => users.push(username) > 0) })
    const target = await startHttp()
    const to = { hostname: '127.0.0.1', port: String(target.port) }
    await dial(socksConnector(`socks5h://a%3Ab:c@127.0.0.1:${port}`), to)
    await dial(socksConnector(`socks5h://a:b%3Ac@127.0.0.1:${port}`), to)
    const isolated = socksConnector(`socks5h://127.0.0.1:${port}`, {}, { isolate: true })
    for (const _ of [1, 2]) await dial(isolated, to)
    expect(users.slice(0, 2)).toEqual(['a:b', 'a'])
    expect(new Set(users).size).toBe(4)
  })

  it('goes through a chain, and speaks TLS on a stream that is there already', async () => {
    const target = await startHttp(echo, { secure: true })
    const [first, second] = [await startServer(), await startServer({ lookup })]
    const connect = socksConnector(
      [first, second].map(({ port }) => `socks5h://127.0.0.1:${port}`),
      { ca: CERTIFICATE },
    )
    const port = String(target.port)
    const tunnel = await dial(connect, { port })
    const socket = await dial(connect, { port, protocol: 'https:', httpSocket: tunnel })
    expect(socket.authorized).toBe(true)
    expect(first.server.stats().connections).toBe(1)
  })

  it.each<[string, Script, string]>([
    ['refuses', refuse, 'ERR_SOCKS_CONNECTION_REFUSED'],
    ['is an HTTP server', (peer) => peer.send(Buffer.from(`HTTP/1.1 400 ${MARK}\r\n\r\n`)), 'ERR_SOCKS_PEER_IS_HTTP'],
    ['closes at once', (peer) => peer.end(), 'ERR_SOCKS_CONNECTION_CLOSED'],
    ['stalls', () => {}, 'ERR_SOCKS_TIMEOUT'],
  ])('a proxy that %s', async (_what, script, code) => {
    await withProxy(script, async (proxy) => {
      const before = descriptors()
      const connect = socksConnector(proxy.url(), {}, { timeoutMs: 200 })
      for (const protocol of ['http:', 'https:']) {
        const error = await failure(dial(connect, { protocol }))
        expect(error).toMatchObject({ name: 'SocksError', code })
        checkHygiene(error)
      }
      await Promise.all(proxy.peers.map(({ closed }) => closed))
      expect(await settlesAt(descriptors, before)).toBe(before)
    })
  })

  it.each<[string, Script, string | RegExp]>([
    ['stalls', async (peer) => void (await peer.open()), 'ERR_SOCKS_TIMEOUT'],
    ['closes', async (peer) => void (await peer.open()).end(), 'ECONNRESET'],
    ['speaks nonsense', async (peer) => void (await peer.open()).write('nonsense\r\n\r\n'), /^ERR_SSL_/],
  ])('a target that %s in the TLS handshake', async (_what, script, code) => {
    await withProxy(script, async (proxy) => {
      const connect = socksConnector(proxy.url(), {}, { timeoutMs: 200 })
      expect(codeOf(await failure(dial(connect, { protocol: 'https:' })))).toMatch(code)
      await proxy.peers[0]?.closed
    })
  })

  it('options of TLS that are none are an error of the connection', async () => {
    await withProxy(
      async (peer) => void (await peer.open()),
      async (proxy) => {
        const connect = socksConnector(proxy.url(), { minVersion: 'TLSv9' as never })
        expect(codeOf(await failure(dial(connect, { protocol: 'https:' })))).toBe('ERR_TLS_INVALID_PROTOCOL_VERSION')
        await proxy.peers[0]?.closed
      },
    )
  })

  it.each([
    [{ localAddress: '127.0.0.2' }, 'ERR_INVALID_ARG_VALUE'],
    [{ socketPath: '/run/docker.sock' }, 'ERR_INVALID_ARG_VALUE'],
    [{ hostname: '127.1' }, 'ERR_SOCKS_INVALID_HOST'],
    [{ port: '99999' }, 'ERR_OUT_OF_RANGE'],
    [{ port: 'x' }, 'ERR_OUT_OF_RANGE'],
  ])('a request with %j opens nothing', async (request, code) => {
    await withProxy(
      () => {},
      async (proxy) => {
        expect(codeOf(await failure(dial(socksConnector(proxy.url()), request)))).toBe(code)
        expect(proxy.peers).toHaveLength(0)
      },
    )
  })

  it.each([
    [{ timeout: 1 }, 'timeoutMs'],
    [{ allowH2: true }, 'ALPNProtocols'],
    [{ timeoutMs: 1 }, 'third argument'],
    [{ socket: {} }, 'tunnel'],
    [{ host: 'a' }, 'each request'],
  ])('refuses options %j and says what to do', (options: object, advice) => {
    expect(() => socksConnector('socks5h://127.0.0.1', options)).toThrow(advice)
  })

  it('checks its other arguments before any I/O', () => {
    const code = (value: string) => expect.objectContaining({ code: value })
    expect(() => socksConnector('http://127.0.0.1')).toThrow(code('ERR_SOCKS_INVALID_PROXY'))
    expect(() => socksConnector('socks5://h', null as never)).toThrow(code('ERR_INVALID_ARG_VALUE'))
    expect(() => socksConnector('socks5://h', {}, { time: 1 } as object)).toThrow(code('ERR_INVALID_ARG_VALUE'))
    expect(() => socksConnector('socks5://h', {}, { timeoutMs: Number.NaN })).toThrow(code('ERR_OUT_OF_RANGE'))
  })

  it('what a hook throws that is no Error is told as one', async () => {
    const { port } = await startServer()
    const target = await startHttp()
    const onHop = () => {
      throw undefined
    }
    const connect = socksConnector(`socks5h://127.0.0.1:${port}`, {}, { onHop })
    const error = await failure(dial(connect, { hostname: '127.0.0.1', port: String(target.port) }))
    expect(error).toBeInstanceOf(Error)
  })
})

const refuse: Script = async (peer) => {
  await peer.greet()
  await peer.readRequest()
  peer.send(Buffer.concat([Uint8Array.of(5, 5), SUCCESS.subarray(2)]))
}
