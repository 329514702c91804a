import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type LookupFunction, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { SocksClient, SocksClientError, type SocksConnectionOptions, type SocksProxy } from '../../src/client/index.js'
import { createSocksServer, customAuth, userPass } from '../../src/server/index.js'
import { type Script, ScriptedProxy, SUCCESS, withRealProxies } from '../support/scripted-proxy.js'
import { cleanup, startServer } from '../support/servers.js'
import { refusedPort, startEcho } from '../support/targets.js'
import { PASSWORD, USER } from './hygiene.js'

const destination = { host: 'example.com', port: 443 }

async function listening(script: Script): Promise<ScriptedProxy> {
  const proxy = await new ScriptedProxy(script).listen()
  cleanup(() => proxy.close())
  return proxy
}

function at(port: number, more: Partial<SocksProxy> = {}): SocksProxy {
  return { host: '127.0.0.1', port, type: 5, ...more }
}

/** The events of a client, in order, until one of these. */
async function until(client: SocksClient, last: 'established' | 'error'): Promise<{ name: string; info: unknown }[]> {
  const events: { name: string; info: unknown }[] = []
  for (const name of ['bound', 'established', 'error'] as const)
    client.on(name, (info: unknown) => events.push({ name, info }))
  await new Promise((resolve) => client.on(last, resolve))
  return events
}

describe('bind', () => {
  it.each([4, 5] as const)(
    'of SOCKS%s tells where the proxy listens, then who has come, and loses nothing',
    async (type) => {
      const { port } = await startServer({ commands: ['bind'], socks4: true })
      const proxy = at(port, { type })
      const client = new SocksClient({ proxy, command: 'bind', destination: { host: '127.0.0.1', port: 0 } })
      const peers: Socket[] = []
      client.on('bound', ({ remoteHost }) => {
        const peer = connect({ host: '127.0.0.1', port: remoteHost?.port ?? 0 })
        peers.push(peer.on('error', () => {}))
        peer.write('first words')
      })
      client.connect()
      const [{ socket, remoteHost }] = await once(client, 'established')
      expect(remoteHost).toEqual({ host: '127.0.0.1', port: peers[0]?.localPort })
      await delay(20)
      expect(String((await once(socket, 'data'))[0])).toBe('first words')
      socket.destroy()
    },
  )

  it('takes both replies and what follows from one segment, in order', async () => {
    const proxy = await listening(async (peer) => {
      await peer.greet()
      await peer.readRequest()
      peer.send(Buffer.concat([SUCCESS, Buffer.from('05000001c00002010050', 'hex'), Buffer.from('hello')]))
    })
    const client = new SocksClient({ proxy: at(proxy.port), command: 'bind', destination })
    const events = until(client, 'established')
    client.connect()
    const [bound, established] = await events
    expect(bound).toMatchObject({ name: 'bound', info: { remoteHost: { host: '127.0.0.1', port: 0x1234 } } })
    expect(established).toMatchObject({ name: 'established', info: { remoteHost: { host: '192.0.2.1', port: 80 } } })
    const info: unknown = established?.info
    if (typeof info !== 'object' || info === null || !('socket' in info) || !(info.socket instanceof Socket)) throw info
    expect(String((await once(info.socket, 'data'))[0])).toBe('hello')
    info.socket.destroy()
  })

  it('a listener destroys the socket it was told of to give up', async () => {
    const proxy = await listening((peer) => void peer.open())
    const client = new SocksClient({ proxy: at(proxy.port), command: 'bind', destination })
    const events = until(client, 'error')
    client.on('bound', ({ socket }) => socket.destroy())
    client.connect()
    expect((await events).map(({ name }) => name)).toEqual(['bound', 'error'])
    await proxy.peers[0]?.closed
  })

  it('nobody came', async () => {
    const proxy = await listening(async (peer) => {
      await peer.open()
      peer.send('05 06 00 01 00 00 00 00 00 00')
    })
    const client = new SocksClient({ proxy: at(proxy.port), command: 'bind', destination })
    const events = until(client, 'error')
    client.connect()
    expect((await events)[1]).toMatchObject({ info: { code: 'ERR_SOCKS_TTL_EXPIRED' } })
  })

  it('works over a stream of any kind', async () => {
    const server = createSocksServer({ commands: ['bind'] })
    cleanup(() => server.close({ graceMs: 0 }))
    const [near, far] = duplexPair()
    server.handle(far, { clientAddress: '127.0.0.1' })
    const options: SocksConnectionOptions = {
      proxy: at(0),
      command: 'bind',
      destination: { host: '127.0.0.1', port: 0 },
      existing_socket: near,
    }
    const client = new SocksClient(options)
    const bound = once(client, 'bound')
    client.connect()
    const [{ remoteHost }] = await bound
    const peer = connect(remoteHost.port, '127.0.0.1').on('error', () => {})
    const [info] = await once(client, 'established')
    expect(info.socket).toBe(near)
    near.destroy()
    peer.destroy()
  })

  it('over a stream without an address, a proxy that tells none cannot be connected to', async () => {
    const [near, far] = duplexPair()
    far.on('data', () => {})
    far.write(Buffer.from('0500050000010000000000', 'hex'))
    far.write(Buffer.from('50', 'hex'))
    const proxy = { type: 5, port: 0 } as const
    const client = new SocksClient({ proxy, command: 'bind', destination, existing_socket: near })
    const events = until(client, 'error')
    client.connect()
    expect(await events).toEqual([{ name: 'error', info: expect.objectContaining({ code: 'ERR_SOCKS_INVALID_HOST' }) }])
    expect(near.destroyed).toBe(true)
  })
})

describe('associate', () => {
  it('gives a relay to send datagrams to, until its connection closes', async () => {
    const echo = createSocket('udp4')
    echo.on('message', (data, { port, address }) => echo.send(data, port, address))
    echo.bind(0, '127.0.0.1')
    await once(echo, 'listening')
    cleanup(() => echo.close())
    const { port, server } = await startServer({ commands: ['udp-associate'] })
    const local = createSocket('udp4')
    local.bind(0, '127.0.0.1')
    await once(local, 'listening')
    cleanup(() => local.close())

    const client = new SocksClient({ proxy: at(port), command: 'associate', destination: { host: '0.0.0.0', port: 0 } })
    client.connect()
    const [{ socket, remoteHost }] = await once(client, 'established')
    const frame = SocksClient.createUDPFrame({
      remoteHost: { host: '127.0.0.1', port: echo.address().port },
      data: Buffer.from('ping'),
    })
    local.send(frame, remoteHost.port, remoteHost.host)
    const [answer] = await once(local, 'message')
    expect(SocksClient.parseUDPFrame(answer)).toEqual({
      frameNumber: 0,
      remoteHost: { host: '127.0.0.1', port: echo.address().port },
      data: Buffer.from('ping'),
    })
    // Its end is seen though nobody reads it: there is nothing to read.
    const closed = new Promise((resolve) => socket.once('close', resolve))
    await server.close({ graceMs: 0 })
    await closed
  })
})

describe('createConnectionChain', () => {
  it('goes through all proxies in turn', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    await withRealProxies(3, async (hops) => {
      const { socket, remoteHost } = await SocksClient.createConnectionChain({
        proxies: hops.map(({ proxy }) => at(proxy.port)),
        command: 'connect',
        destination: { host: '127.0.0.1', port: echo.port },
      })
      expect(socket.remotePort).toBe(hops[0]?.proxy.port)
      expect(remoteHost).toEqual({ host: '127.0.0.1', port: 0x1234 })
      socket.write('through three')
      expect(String((await once(socket, 'data'))[0])).toBe('through three')
      expect(hops.map(({ requests }) => requests.map((bytes) => bytes.readUInt16BE(bytes.length - 2)))).toEqual([
        [hops[1]?.proxy.port],
        [hops[2]?.proxy.port],
        [echo.port],
      ])
      socket.destroy()
    })
  })

  it('mixes versions, passwords and custom methods, and calls back', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const first = await startServer({ auth: userPass({ [USER]: PASSWORD }), allowAnonymous: true })
    const second = await startServer({ socks4: true })
    const third = await startServer({ auth: tokenMethod() })
    const proxies = [
      at(first.port, { userId: USER, password: PASSWORD }),
      at(second.port, { type: 4 }),
      at(third.port, token()),
    ]
    const options = { proxies, command: 'connect', destination: { host: '127.0.0.1', port: echo.port } } as const
    const socket = await new Promise<Socket>((resolve, reject) => {
      void SocksClient.createConnectionChain(options, (error, info) => {
        if (info === undefined) reject(error)
        else resolve(info.socket)
      })
    })
    socket.write('mixed')
    expect(String((await once(socket, 'data'))[0])).toBe('mixed')
    socket.destroy()
  })
})

/** A method of three bytes and an answer of two. */
function tokenMethod(): ReturnType<typeof customAuth> {
  return customAuth(0x80, async (channel) => {
    const said = Buffer.from(await channel.readExactly(3)).toString('hex')
    channel.write(Uint8Array.of(0x01, said === '010203' ? 0x00 : 0x01))
    return said === '010203' ? { identity: { name: 'token' } } : false
  })
}

function token(bytes = '010203'): Partial<SocksProxy> {
  return {
    custom_auth_method: 0x80,
    custom_auth_request_handler: async () => Buffer.from(bytes, 'hex'),
    custom_auth_response_size: 2,
    custom_auth_response_handler: async (data) => data[1] === 0x00,
  }
}

describe('custom_auth', () => {
  it('talks to a server that has the method', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { port } = await startServer({ auth: tokenMethod() })
    const target = { host: '127.0.0.1', port: echo.port }
    const right = await SocksClient.createConnection({
      proxy: at(port, token()),
      command: 'connect',
      destination: target,
    })
    right.socket.destroy()
    const wrong = SocksClient.createConnection({
      proxy: at(port, token('ffffff')),
      command: 'connect',
      destination: target,
    })
    await expect(wrong).rejects.toMatchObject({
      code: 'ERR_SOCKS_AUTH_FAILED',
      message: 'Socks5 Authentication failed',
    })
  })

  it('is offered beside the others, last', async () => {
    const proxy = await listening(async (peer) => {
      expect(await peer.greet()).toEqual([0x00, 0x02, 0x80])
      await peer.readRequest()
      peer.send(SUCCESS)
    })
    const options = at(proxy.port, { userId: USER, password: PASSWORD, ...token() })
    const { socket } = await SocksClient.createConnection({ proxy: options, command: 'connect', destination })
    socket.destroy()
  })

  it('an answer in pieces, with the rest of the handshake behind it', async () => {
    const proxy = await listening(async (peer) => {
      await peer.greet(0x80)
      await peer.expect('01 02 03')
      await peer.sendByByte(Buffer.from('0100', 'hex'))
      await peer.readRequest()
      peer.send(SUCCESS)
    })
    const { socket } = await SocksClient.createConnection({
      proxy: at(proxy.port, token()),
      command: 'connect',
      destination,
    })
    socket.destroy()
  })

  it('an answer of no bytes is asked about at once', async () => {
    const proxy = await listening(async (peer) => {
      await peer.greet(0x80)
      await peer.expect('01 02 03')
      await peer.readRequest()
      peer.send(SUCCESS)
    })
    const sizes: number[] = []
    const options = at(proxy.port, {
      ...token(),
      custom_auth_response_size: 0,
      custom_auth_response_handler: async (data) => sizes.push(data.length) > 0,
    })
    const { socket } = await SocksClient.createConnection({ proxy: options, command: 'connect', destination })
    expect(sizes).toEqual([0])
    socket.destroy()
  })

  it('is left out for SOCKS4, which has no methods', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { port } = await startServer({ socks4: true })
    const proxy = at(port, { type: 4, ...token() })
    const target = { host: '127.0.0.1', port: echo.port }
    const { socket } = await SocksClient.createConnection({ proxy, command: 'connect', destination: target })
    socket.destroy()
  })

  it.each([
    ['a code below the private ones', { custom_auth_method: 0x7f }],
    ['the code of no method', { custom_auth_method: 0xff }],
    ['no request handler', { custom_auth_request_handler: undefined }],
    ['no response handler', { custom_auth_response_handler: undefined }],
    ['no size', { custom_auth_response_size: undefined }],
    ['a size that is none', { custom_auth_response_size: -1 }],
  ])('is refused before any I/O: %s', (_name, more) => {
    const proxy = at(1080, { ...token(), ...more })
    expect(() => new SocksClient({ proxy, command: 'connect', destination })).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^ERR_(OUT_OF_RANGE|INVALID_ARG_VALUE)$/) }),
    )
  })
})

describe('socket_options', () => {
  it('are those of net.connect: where from, and who looks up', async () => {
    const proxy = await listening((peer) => void peer.open())
    const asked: string[] = []
    const lookup: LookupFunction = (host, _options, callback) => {
      asked.push(host)
      callback(null, '127.0.0.1', 4)
    }
    const { socket } = await SocksClient.createConnection({
      proxy: at(proxy.port, { host: 'proxy.example' }),
      command: 'connect',
      destination,
      socket_options: { localAddress: '127.0.0.2', lookup, host: 'ignored.example', port: 1, family: 4 },
    })
    expect(asked).toEqual(['proxy.example'])
    expect(proxy.peers[0]?.socket.remoteAddress).toBe('127.0.0.2')
    expect(socket.allowHalfOpen).toBe(false)
    socket.destroy()
  })

  it('a path is a Unix socket, and needs no address of the proxy', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tubesock-'))
    cleanup(() => rmSync(folder, { recursive: true }))
    const path = join(folder, 'proxy.sock')
    const { port } = await listening((peer) => void peer.open())
    const door = createServer((socket) => {
      const onward = connect(port, '127.0.0.1')
      for (const end of [socket, onward]) end.on('error', () => {})
      socket.pipe(onward).pipe(socket)
    }).listen(path)
    await once(door, 'listening')
    cleanup(() => door.close())
    const { socket } = await SocksClient.createConnection({
      proxy: at(0, { host: 'nowhere' }),
      command: 'connect',
      destination,
      socket_options: { path, allowHalfOpen: true },
    })
    expect(socket.allowHalfOpen).toBe(true)
    socket.destroy()
  })

  it('the timeout holds for the dialing as well', async () => {
    const never: LookupFunction = () => {}
    const outcome = SocksClient.createConnection({
      proxy: at(1080, { host: 'proxy.example' }),
      command: 'connect',
      destination,
      timeout: 50,
      socket_options: { lookup: never },
    })
    await expect(outcome).rejects.toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', message: 'Proxy connection timed out' })
  })

  it.each([
    ['nobody there', {}, 'ECONNREFUSED'],
    [
      'a lookup that throws',
      {
        lookup: () => {
          throw Object.assign(new Error('of the lookup'), { code: 'EBROKEN' })
        },
      },
      'EBROKEN',
    ],
    ['options that net.connect refuses', { localAddress: 'nonsense' }, 'ERR_INVALID_IP_ADDRESS'],
    ['a signal', { signal: AbortSignal.abort() }, 'ABORT_ERR'],
  ])('a proxy that cannot be dialed: %s', async (_name, socket_options, code) => {
    const port = await refusedPort()
    const options = { proxy: at(port, { host: 'localhost' }), command: 'connect', destination } as const
    const error = await SocksClient.createConnection({ ...options, socket_options }).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(SocksClientError)
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROXY_UNREACHABLE', cause: { code } })
  })

  it('what was dialed is closed when the proxy cannot be told where to go', async () => {
    const proxy = await listening(() => {})
    const outcome = SocksClient.createConnection({
      proxy: at(proxy.port, { type: 4 }),
      command: 'connect',
      destination: { host: '::1', port: 80 },
      socket_options: { localAddress: '127.0.0.1' },
    })
    await expect(outcome).rejects.toMatchObject({ code: 'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED' })
    const [peer] = await proxy.connections(1)
    await peer?.closed
  })

  it('onread does not take the bytes of the handshake away', async () => {
    const proxy = await listening((peer) => void peer.open())
    const { socket } = await SocksClient.createConnection({
      proxy: at(proxy.port),
      command: 'connect',
      destination,
      socket_options: { onread: { buffer: Buffer.alloc(9), callback: () => true } },
    })
    socket.destroy()
  })
})

describe('messages that programs compare with', () => {
  it.each([
    ['05 01', 'Socks5 proxy rejected connection - Failure', 'ERR_SOCKS_GENERAL_FAILURE'],
    ['05 02', 'Socks5 proxy rejected connection - NotAllowed', 'ERR_SOCKS_NOT_ALLOWED'],
    ['05 03', 'Socks5 proxy rejected connection - NetworkUnreachable', 'ERR_SOCKS_NETWORK_UNREACHABLE'],
    ['05 04', 'Socks5 proxy rejected connection - HostUnreachable', 'ERR_SOCKS_HOST_UNREACHABLE'],
    ['05 05', 'Socks5 proxy rejected connection - ConnectionRefused', 'ERR_SOCKS_CONNECTION_REFUSED'],
    ['05 06', 'Socks5 proxy rejected connection - TTLExpired', 'ERR_SOCKS_TTL_EXPIRED'],
    ['05 07', 'Socks5 proxy rejected connection - CommandNotSupported', 'ERR_SOCKS_COMMAND_NOT_SUPPORTED'],
    ['05 08', 'Socks5 proxy rejected connection - AddressNotSupported', 'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED'],
    ['05 63', 'Socks5 proxy rejected connection - 0x63', 'ERR_SOCKS_UNASSIGNED_REPLY'],
  ])('reply %s: %s', async (reply, message, code) => {
    const proxy = await listening(async (peer) => {
      await peer.greet()
      await peer.readRequest()
      peer.send(`${reply} 00 01 00 00 00 00 00 00`)
    })
    const outcome = SocksClient.createConnection({ proxy: at(proxy.port), command: 'connect', destination })
    const cause = { message: expect.stringContaining('example.com:443') }
    await expect(outcome).rejects.toMatchObject({ message, code, cause })
  })

  it.each([
    ['00 5b', 'Socks4 Proxy rejected connection - (Failed)', 'ERR_SOCKS_GENERAL_FAILURE'],
    ['00 5c', 'Socks4 Proxy rejected connection - (Rejected)', 'ERR_SOCKS_AUTH_FAILED'],
    ['00 5d', 'Socks4 Proxy rejected connection - (RejectedIdent)', 'ERR_SOCKS_AUTH_FAILED'],
    ['00 01', 'Socks4 Proxy rejected connection - (0x01)', 'ERR_SOCKS_GENERAL_FAILURE'],
  ])('SOCKS4 reply %s: %s', async (reply, message, code) => {
    const proxy = await listening(async (peer) => {
      await peer.read(9)
      peer.send(`${reply} 00 00 00 00 00 00`)
    })
    const outcome = SocksClient.createConnection({
      proxy: at(proxy.port, { type: 4 }),
      command: 'connect',
      destination,
    })
    await expect(outcome).rejects.toMatchObject({ message, code })
  })

  it('of a proxy that nobody answers at: the code of the system', async () => {
    const port = await refusedPort()
    const outcome = SocksClient.createConnection({ proxy: at(port), command: 'connect', destination })
    await expect(outcome).rejects.toMatchObject({
      message: expect.stringContaining('ECONNREFUSED'),
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
      cause: { code: 'ECONNREFUSED' },
    })
  })

  it('every failure is one that isSocksError knows, and an instance of both classes', async () => {
    const proxy = await listening((peer) => peer.greet().then(() => peer.end()))
    const outcome = SocksClient.createConnection({ proxy: at(proxy.port), command: 'connect', destination })
    const error = await outcome.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(SocksClientError)
    expect(error).toMatchObject({ name: 'SocksError', code: 'ERR_SOCKS_CONNECTION_CLOSED' })
  })
})
