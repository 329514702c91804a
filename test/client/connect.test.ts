import { once } from 'node:events'
import { connect as connectTcp, createServer, type LookupFunction, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { createServer as createTlsServer, TLSSocket } from 'node:tls'
import { describe, expect, it } from 'vitest'
import type { Hop } from '../../src/client/chain.js'
import { SocksClient } from '../../src/client/client.js'
import { hex, Peer, type ScriptedProxy, SUCCESS, withProxy, withRealProxies } from '../support/scripted-proxy.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'
import { failure, MARK, PASSWORD, rejection, USER } from './hygiene.js'

const SECRET_URL = `${USER}:${PASSWORD}`
const target = { host: 'example.com', port: 443 }

function port(server: Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not a TCP server')
  return address.port
}

async function withServer<T>(server: Server, use: (port: number) => Promise<T>): Promise<T> {
  const sockets: Socket[] = []
  server.on('connection', (socket: Socket) => sockets.push(socket.on('error', () => {})))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    return await use(port(server))
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  }
}

/** The request a proxy gets for a host, as hexadecimal. */
async function requestFor(host: string, scheme = 'socks5h', lookup?: LookupFunction): Promise<string> {
  let request = ''
  const script = async (peer: Peer): Promise<void> => {
    await peer.greet()
    request = (await peer.readRequest()).toString('hex')
    peer.send(SUCCESS)
  }
  await withProxy(script, async (proxy) => {
    const url = proxy.url().replace('socks5h', scheme)
    const { socket } = await SocksClient.connect({ proxy: url, host, port: 80, lookup })
    socket.destroy()
  })
  return request
}

describe('what is asked for', () => {
  it.each([
    ['127.0.0.1', '05010001 7f000001 0050'],
    ['::1', `05010004 ${'00'.repeat(15)}01 0050`],
    ['[::1]', `05010004 ${'00'.repeat(15)}01 0050`],
    ['::ffff:10.0.0.1', '05010001 0a000001 0050'],
    ['Example.COM.', `05010003 0b ${Buffer.from('example.com').toString('hex')} 0050`],
    ['bücher.example', `05010003 15 ${Buffer.from('xn--bcher-kva.example').toString('hex')} 0050`],
    ['１２７.０.０.１', '05010001 7f000001 0050'],
  ])('C140 C141 socks5h leaves %s to the proxy; literals are addresses', async (host, request) => {
    expect(await requestFor(host)).toBe(request.replace(/ /g, ''))
  })

  it('C140 socks5 looks the target up here and takes the first address', async () => {
    const asked: string[] = []
    const lookup: LookupFunction = (host, _options, callback) => {
      asked.push(host)
      callback(null, [
        { address: '192.0.2.1', family: 4 },
        { address: '192.0.2.2', family: 4 },
      ])
    }
    expect(await requestFor('bücher.example', 'socks5', lookup)).toBe('05010001c00002010050')
    expect(asked).toEqual(['xn--bcher-kva.example'])
    expect(await requestFor('::1', 'socks5', lookup)).toContain('05010004')
    expect(asked).toHaveLength(1)
  })

  it('C140 socks5 uses the resolver of the system', async () => {
    expect(await requestFor('localhost', 'socks5')).toMatch(/^050100(017f000001|0400{15}01)0050$/)
  })

  it('C140 a lookup that answers with a single address, as old ones do', async () => {
    const lookup: LookupFunction = (_host, _options, callback) => callback(null, '192.0.2.1', 4)
    expect(await requestFor('example.com', 'socks5', lookup)).toBe('05010001c00002010050')
  })

  it.each([
    ['256 bytes', 'a'.repeat(256)],
    ['256 bytes in labels', 'a.'.repeat(128)],
    ['254 bytes after IDN', `${'ü'.repeat(40)}.`.repeat(6)],
    ['an international label over 63 bytes', `${'ü'.repeat(64)}.example`],
    ['a megabyte', 'ü'.repeat(1 << 20)],
    ['nothing', ''],
    ['a NUL', 'localhost\0.example.com'],
    ['a NUL beside an international letter', 'localhost\0.bücher.example'],
    ['a slash behind which a converter stops', 'example.com/ü'],
    ['a tab that a converter drops', 'bücher\t.example'],
    ['a short spelling of IPv4', '127.1'],
    ['a number', '2130706433'],
    ['a zone', 'fe80::1%eth0'],
    ['a space', 'a b'],
    ['an at sign', 'a@b'],
  ])('C141 a host is refused before any I/O: %s', async (_name, host) => {
    await withProxy(
      () => {},
      async (proxy) => {
        for (const scheme of ['socks5h', 'socks5']) {
          const url = proxy.url(SECRET_URL).replace('socks5h', scheme)
          const error = await failure(SocksClient.connect({ proxy: url, host, port: 80 }), 'ERR_SOCKS_INVALID_HOST')
          expect(error.hop).toBe(undefined)
        }
        expect(proxy.peers).toHaveLength(0)
      },
    )
  })

  it.each([-1, 65_536, 1.5, Number.NaN])('port %s is refused', async (wrong) => {
    await expect(SocksClient.connect({ proxy: 'socks5h://127.0.0.1:1', host: 'a', port: wrong })).rejects.toThrow(
      RangeError,
    )
  })

  it('options that it does not know are refused: a misspelt requireAuth must not pass for none', async () => {
    const proxy = 'socks5h://127.0.0.1:1'
    // @ts-expect-error misspelt
    expect(() => new SocksClient({ proxy, requireauth: true })).toThrow(TypeError)
    // @ts-expect-error nothing at all
    expect(() => new SocksClient()).toThrow(TypeError)
    // @ts-expect-error misspelt
    await expect(SocksClient.connect({ proxy, ...target, timeout: 100 })).rejects.toThrow(TypeError)
    // @ts-expect-error misspelt
    await expect(new SocksClient({ proxy }).connect({ ...target, timeout: 100 })).rejects.toThrow(TypeError)
    // @ts-expect-error the controller, not its signal
    await expect(SocksClient.connect({ proxy, ...target, signal: new AbortController() })).rejects.toThrow(TypeError)
  })

  it('names its proxies without credentials', () => {
    const client = new SocksClient({ proxy: ['socks5h://user:secret@127.0.0.1', 'socks5://[::1]:9'] })
    expect(client.proxies).toEqual(['socks5h://127.0.0.1:1080', 'socks5://[::1]:9'])
  })

  it('static connect rejects, it does not throw', async () => {
    await failure(SocksClient.connect({ proxy: 'http://x', ...target }), 'ERR_SOCKS_INVALID_PROXY')
    // What a caller without types may pass.
    const host = undefined as unknown as string
    expect(await rejection(SocksClient.connect({ proxy: 'socks5h://127.0.0.1:1', host, port: 1 }))).toBeInstanceOf(
      TypeError,
    )
  })
})

describe('errors name the proxy, the hop and the target', () => {
  it('C14 an HTTP proxy is called by its name', async () => {
    const script = (peer: Peer): void => peer.send(Buffer.from(`HTTP/1.1 400 Bad Request ${MARK}\r\n\r\n`))
    await withProxy(script, async (proxy) => {
      const error = await failure(
        SocksClient.connect({ proxy: proxy.url(SECRET_URL), ...target }),
        'ERR_SOCKS_PEER_IS_HTTP',
      )
      expect(error).toMatchObject({ hop: 0, target: 'example.com:443' })
      expect(error.message).toContain('HTTP proxy')
      expect(error.message).toContain(`socks5h://127.0.0.1:${proxy.port}`)
    })
  })

  it('C23 a wrong password: the status, and neither user nor password', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet(2)
      expect(await peer.readCredentials()).toEqual({ username: USER, password: PASSWORD })
      peer.send('01 07')
    }
    await withProxy(script, async (proxy) => {
      const error = await failure(
        SocksClient.connect({ proxy: proxy.url(SECRET_URL), ...target }),
        'ERR_SOCKS_AUTH_FAILED',
      )
      expect(error).toMatchObject({ status: 7, hop: 0, target: 'example.com:443' })
    })
  })

  it('C64 the two bytes of a failure decide while the connection stays open', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      peer.send('05 05')
    }
    await withProxy(script, async (proxy) => {
      const error = await failure(
        SocksClient.connect({ proxy: proxy.url(), ...target }),
        'ERR_SOCKS_CONNECTION_REFUSED',
      )
      expect(error).toMatchObject({ replyCode: 5, hop: 0, target: 'example.com:443' })
      await proxy.peers[0]?.closed
    })
  })

  it('C70 a proxy that closes after the request, as ssh -D does', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      peer.end()
    }
    await withProxy(script, async (proxy) => {
      await failure(SocksClient.connect({ proxy: proxy.url(), ...target }), 'ERR_SOCKS_CONNECTION_CLOSED')
      await proxy.peers[0]?.closed
    })
  })

  it.each(['method', 'status', 'reply'])('C70 a reset at the stage of the %s', async (stage) => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.read(4)
      if (stage === 'method') return peer.reset()
      peer.send('05 02')
      await peer.readCredentials()
      if (stage === 'status') return peer.reset()
      peer.send('01 00')
      await peer.readRequest()
      peer.reset()
    }
    await withProxy(script, async (proxy) => {
      const error = await failure(
        SocksClient.connect({ proxy: proxy.url(SECRET_URL), ...target }),
        'ERR_SOCKS_CONNECTION_CLOSED',
      )
      expect(error.cause).toMatchObject({ code: 'ECONNRESET' })
    })
  })

  it('C66 a reply byte by byte, in segments of their own', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.read(4)
      await peer.sendByByte(hex('05 02'))
      await peer.readCredentials()
      await peer.sendByByte(hex('01 00'))
      await peer.readRequest()
      await peer.sendByByte(Buffer.concat([SUCCESS, Buffer.from('banner')]))
      peer.end()
    }
    await withProxy(script, async (proxy) => {
      const { socket, bound } = await SocksClient.connect({ proxy: proxy.url(SECRET_URL), ...target })
      expect(bound).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 4660 })
      expect(Buffer.concat(await socket.toArray()).toString()).toBe('banner')
      socket.destroy()
    })
  })

  it('C72 a proxy that nobody listens on: the system error is the cause', async () => {
    const closed = await withServer(createServer(), async (free) => free)
    const proxy = `socks5h://${SECRET_URL}@127.0.0.1:${closed}`
    const error = await failure(SocksClient.connect({ proxy, ...target }), 'ERR_SOCKS_PROXY_UNREACHABLE')
    expect(error).toMatchObject({ hop: 0, target: 'example.com:443', cause: { code: 'ECONNREFUSED' } })
    expect(error.replyCode).toBe(undefined)
    expect(error.message).toContain(`127.0.0.1:${closed}`)
  })

  it('C72 the name of a proxy that does not resolve, by a lookup that calls back or throws', async () => {
    const refused = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })
    const lookups: LookupFunction[] = [
      (_host, _options, callback) => callback(refused, []),
      (_host, _options, callback) => callback(null, []),
      (_host, _options, callback) => callback(null, 'not an address', 4),
      () => {
        throw refused
      },
    ]
    for (const lookup of lookups) {
      const options = { proxy: `socks5h://${SECRET_URL}@proxy.example`, lookup, ...target }
      const error = await failure(SocksClient.connect(options), 'ERR_SOCKS_PROXY_UNREACHABLE')
      expect(error.cause).toMatchObject({ code: 'ENOTFOUND' })
    }
  })

  it('C72 a target that does not resolve here, by a lookup that calls back or throws', async () => {
    const refused = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })
    const lookups: LookupFunction[] = [
      (_host, _options, callback) => callback(refused, []),
      (_host, _options, callback) => callback(null, []),
      () => {
        throw refused
      },
    ]
    await withProxy(
      () => {},
      async (proxy) => {
        for (const [index, lookup] of lookups.entries()) {
          const options = { proxy: proxy.url(SECRET_URL).replace('socks5h', 'socks5'), lookup, ...target }
          const error = await failure(SocksClient.connect(options), 'ERR_SOCKS_HOST_UNREACHABLE')
          expect(error).toMatchObject({ replyCode: 4, hop: 0, cause: { code: 'ENOTFOUND' } })
          await (await proxy.connections(index + 1))[index]?.closed
        }
      },
    )
  })

  it('what onHop throws is passed on as it is, and the socket is closed', async () => {
    const script = async (peer: Peer): Promise<void> => void (await peer.open())
    await withProxy(script, async (proxy) => {
      const thrown = new RangeError('mine')
      const onHop = (): void => {
        throw thrown
      }
      expect(await rejection(SocksClient.connect({ proxy: proxy.url(), onHop, ...target }))).toBe(thrown)
      await proxy.peers[0]?.closed
    })
  })
})

describe('ways to the proxy', () => {
  it('a Unix socket', async () => {
    const path = join(tmpdir(), `tubesock-${process.pid}-${Math.random().toString(36).slice(2)}.sock`)
    const server = createServer((socket) => void new Peer(socket).open())
    server.listen(path)
    await once(server, 'listening')
    for (const proxy of [{ path }, `socks5h://localhost${path}`]) {
      const { socket } = await SocksClient.connect({ proxy, ...target })
      socket.destroy()
    }
    server.close()
    const gone = await failure(
      SocksClient.connect({ proxy: { path: `${path}.gone` }, ...target }),
      'ERR_SOCKS_PROXY_UNREACHABLE',
    )
    expect(gone.cause).toMatchObject({ code: 'ENOENT' })
  })

  it('a local address', async () => {
    await withProxy(
      async (peer) => void (await peer.open()),
      async (proxy) => {
        const { socket } = await SocksClient.connect({ proxy: proxy.url(), localAddress: '127.0.0.9', ...target })
        expect(proxy.peers[0]?.socket.remoteAddress).toBe('127.0.0.9')
        socket.destroy()
      },
    )
  })

  it('C143 TLS to the proxy: its own name, its own options, and an idle socket', async () => {
    const names: unknown[] = []
    const server = createTlsServer({ key: PRIVATE_KEY, cert: CERTIFICATE }, async (socket) => {
      names.push(socket.servername)
      const peer = new Peer(socket)
      await peer.greet()
      await peer.readRequest()
      peer.send(Buffer.concat([SUCCESS, Buffer.from('banner')]))
      peer.end()
    })
    await withServer(server, async (tlsPort) => {
      const tls = { ca: CERTIFICATE }
      const lookup: LookupFunction = (_host, _options, callback) => callback(null, '127.0.0.1', 4)
      for (const host of ['proxy.example', '127.0.0.1']) {
        const { socket } = await SocksClient.connect({ proxy: { host, port: tlsPort, tls }, lookup, ...target })
        expect(socket).toBeInstanceOf(TLSSocket)
        expect(socket.readableFlowing).toBe(null)
        expect(socket.allowHalfOpen).toBe(true)
        expect(Buffer.concat(await socket.toArray()).toString()).toBe('banner')
        socket.destroy()
      }
      // RFC 6066 section 3: no name for an IP literal.
      expect(names).toEqual(['proxy.example', false])
    })
  })

  it('TLS that fails: unknown authority, wrong name, not TLS at all, options that make no sense', async () => {
    const server = createTlsServer({ key: PRIVATE_KEY, cert: CERTIFICATE })
    server.on('tlsClientError', () => {})
    const lookup: LookupFunction = (_host, _options, callback) => callback(null, '127.0.0.1', 4)
    await withServer(server, async (tlsPort) => {
      for (const [host, tls] of [
        ['proxy.example', true],
        ['other.example', { ca: CERTIFICATE }],
        ['proxy.example', { ca: CERTIFICATE, minVersion: 'nonsense' }],
      ] as const) {
        // What a caller without types may pass.
        const proxy = { host, port: tlsPort, tls: tls as object, username: USER, password: PASSWORD }
        const error = await failure(SocksClient.connect({ proxy, lookup, ...target }), 'ERR_SOCKS_PROXY_UNREACHABLE')
        expect(error).toMatchObject({ hop: 0, target: 'example.com:443' })
        expect(JSON.stringify(Object.keys(Object(error.cause)))).not.toContain('cert')
      }
    })
    await withProxy(
      (peer) => peer.send(Buffer.from(MARK.repeat(20))),
      async (proxy) => {
        const plain = { host: '127.0.0.1', port: proxy.port, tls: true, username: USER, password: PASSWORD }
        await failure(SocksClient.connect({ proxy: plain, ...target }), 'ERR_SOCKS_PROXY_UNREACHABLE')
        await proxy.peers[0]?.closed
      },
    )
  })

  it('C140 a proxy at an IPv6 address', async () => {
    const server = createServer((socket) => void new Peer(socket).open())
    server.listen(0, '::1')
    await once(server, 'listening')
    const { socket } = await SocksClient.connect({ proxy: `socks5h://[::1]:${port(server)}`, ...target })
    expect(socket.remoteAddress).toBe('::1')
    socket.destroy()
    server.close()
  })

  it('TLS to a proxy over a stream that is no socket', async () => {
    const server = createTlsServer({ key: PRIVATE_KEY, cert: CERTIFICATE }, async (socket) => {
      const peer = new Peer(socket)
      await peer.greet()
      await peer.readRequest()
      peer.send(Buffer.concat([SUCCESS, Buffer.from('banner')]))
      peer.end()
    })
    await withServer(server, async (tlsPort) => {
      const [near, far] = duplexPair()
      const tunnel = connectTcp(tlsPort, '127.0.0.1')
      far.pipe(tunnel).pipe(far)
      const proxy = { host: 'proxy.example', tls: { ca: CERTIFICATE } }
      const { socket } = await SocksClient.connect({ proxy, socket: near, ...target })
      expect(Buffer.concat(await socket.toArray()).toString()).toBe('banner')
      tunnel.destroy()
    })
  })

  it('a stream that leads to the proxy already', async () => {
    const [stream, far] = duplexPair()
    far.write(hex('05 00'))
    far.write(SUCCESS)
    const { socket } = await SocksClient.connect({ proxy: 'socks5h://named-only.example', socket: stream, ...target })
    expect(socket).toBe(stream)

    const [broken] = duplexPair()
    broken.destroy()
    await failure(
      SocksClient.connect({ proxy: 'socks5h://named-only.example', socket: broken, ...target }),
      'ERR_SOCKS_CONNECTION_CLOSED',
    )
  })
})

describe('chains', () => {
  const url = ({ proxy }: { readonly proxy: ScriptedProxy }): string => proxy.url()

  it('three hops: each is asked for the next, the target by name, and every answer is reported', async () => {
    const echo = createServer((socket) => socket.pipe(socket))
    await withServer(echo, (echoPort) =>
      withRealProxies(3, async (proxies) => {
        const hops: Hop[] = []
        const client = new SocksClient({ proxy: proxies.map(url), onHop: (hop) => hops.push(hop) })
        const { socket } = await client.connect({ host: 'bücher.example', port: echoPort })
        socket.end('through three')
        expect(Buffer.concat(await socket.toArray()).toString()).toBe('through three')
        const [first, second, third] = proxies.map(({ requests }) => requests[0]?.toString('latin1'))
        expect(first?.slice(4, 8)).toBe('\x7f\0\0\x01')
        expect(second?.slice(4, 8)).toBe('\x7f\0\0\x01')
        expect(third).toContain('xn--bcher-kva.example')
        expect(hops.map(({ hop, target: asked }) => [hop, asked])).toEqual([
          [0, `127.0.0.1:${proxies[1]?.proxy.port}`],
          [1, `127.0.0.1:${proxies[2]?.proxy.port}`],
          [2, `xn--bcher-kva.example:${echoPort}`],
        ])
      }),
    )
  })

  it('a socks5 hop looks the next proxy up here, a socks5h hop leaves its name to the one before', async () => {
    await withServer(
      createServer((socket) => socket.pipe(socket)),
      (echoPort) =>
        withRealProxies(2, async (proxies) => {
          const lookup: LookupFunction = (_host, _options, callback) => callback(null, '127.0.0.7', 4)
          const second = `socks5h://second.example:${proxies[1]?.proxy.port}`
          for (const [scheme, atyp] of [
            ['socks5', 1],
            ['socks5h', 3],
          ] as const) {
            const first = `${scheme}://127.0.0.1:${proxies[0]?.proxy.port}`
            const { socket } = await SocksClient.connect({
              proxy: [first, second],
              lookup,
              host: 'a.test',
              port: echoPort,
            })
            socket.destroy()
            expect(proxies[0]?.requests.at(-1)?.[3]).toBe(atyp)
            expect(proxies[1]?.requests.at(-1)?.[3]).toBe(3)
          }
        }),
    )
  })

  it('TLS to the second proxy runs inside the first', async () => {
    const tlsProxy = createTlsServer({ key: PRIVATE_KEY, cert: CERTIFICATE }, async (socket) => {
      const peer = new Peer(socket)
      await peer.greet()
      await peer.readRequest()
      peer.send(Buffer.concat([SUCCESS, Buffer.from('banner')]))
      peer.end()
    })
    await withServer(tlsProxy, (tlsPort) =>
      withRealProxies(1, async ([first]) => {
        const second = { host: 'proxy.example', port: tlsPort, tls: { ca: CERTIFICATE } }
        const { socket } = await SocksClient.connect({ proxy: [first?.proxy.url() ?? '', second], ...target })
        expect(Buffer.concat(await socket.toArray()).toString()).toBe('banner')
        socket.destroy()
        await first?.proxy.peers[0]?.closed
      }),
    )
  })

  it('each hop failing in turn is named', async () => {
    const free = await withServer(createServer(), async (unused) => unused)
    const dead = `socks5h://${SECRET_URL}@127.0.0.1:${free}`
    await withRealProxies(2, async (proxies) => {
      const [one, two] = proxies.map(url)
      const cases = [
        [[dead, one, two], 'ERR_SOCKS_PROXY_UNREACHABLE', 0, `127.0.0.1:${proxies[0]?.proxy.port}`],
        [[one, dead, two], 'ERR_SOCKS_CONNECTION_REFUSED', 0, `127.0.0.1:${free}`],
        [[one, two, dead], 'ERR_SOCKS_CONNECTION_REFUSED', 1, `127.0.0.1:${free}`],
      ] as const
      for (const [proxy, code, hop, asked] of cases) {
        const error = await failure(SocksClient.connect({ proxy: [...proxy].map(String), ...target }), code)
        expect(error).toMatchObject({ hop, target: asked })
        expect(error.message).toContain(`hop ${hop + 1} of 3`)
      }
      for (const { proxy } of proxies) await Promise.all(proxy.peers.map(({ closed }) => closed))
    })
  })

  it('a later hop that refuses the login, and one that is no SOCKS proxy', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet(2)
      await peer.readCredentials()
      peer.send('01 01')
    }
    await withRealProxies(1, async ([first]) => {
      await withProxy(script, async (second) => {
        const proxy = [first?.proxy.url() ?? '', second.url(SECRET_URL)]
        const error = await failure(SocksClient.connect({ proxy, ...target }), 'ERR_SOCKS_AUTH_FAILED')
        expect(error).toMatchObject({ hop: 1, status: 1, target: 'example.com:443' })
        await second.peers[0]?.closed
      })
      const http = createServer((socket) => void socket.end(`HTTP/1.0 400 ${MARK}\r\n\r\n`))
      await withServer(http, async (httpPort) => {
        const proxy = [first?.proxy.url() ?? '', `socks5h://${SECRET_URL}@127.0.0.1:${httpPort}`]
        expect(await failure(SocksClient.connect({ proxy, ...target }), 'ERR_SOCKS_PEER_IS_HTTP')).toMatchObject({
          hop: 1,
        })
      })
    })
  })
})

it('many at once through one client do not meet', async () => {
  const echo = createServer((socket) => socket.pipe(socket))
  await withServer(echo, (echoPort) =>
    withRealProxies(1, async ([only]) => {
      const client = new SocksClient({ proxy: only?.proxy.url() ?? '' })
      const answers = Array.from({ length: 50 }, async (_, index) => {
        const { socket } = await client.connect({ host: `n${index}.test`, port: echoPort })
        socket.end(`number ${index}`)
        return Buffer.concat(await socket.toArray()).toString()
      })
      expect(await Promise.all(answers)).toEqual(Array.from({ length: 50 }, (_, index) => `number ${index}`))
    }),
  )
})
