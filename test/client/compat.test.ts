import { EventEmitter, once } from 'node:events'
import { Socket } from 'node:net'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { SocksClient as CoreClient } from '../../src/client/client.js'
import { SocksClient, type SocksClientEstablishedEvent, type SocksProxy } from '../../src/client/index.js'
import { hex, ScriptedProxy, SUCCESS, withProxy } from '../support/scripted-proxy.js'
import { cleanup, startServer } from '../support/servers.js'
import { startEcho, type Target } from '../support/targets.js'
import { PASSWORD, USER } from './hygiene.js'

async function echo(host?: string): Promise<Target> {
  const target = await startEcho(host)
  cleanup(() => target.close())
  return target
}

/** What comes back for what is said. */
async function roundTrip(socket: Socket, text = 'hello'): Promise<string> {
  socket.write(text)
  const [chunk] = await once(socket, 'data')
  socket.destroy()
  return String(chunk)
}

function proxyAt(port: number, more: Partial<SocksProxy> = {}): SocksProxy {
  return { host: '127.0.0.1', port, type: 5, ...more }
}

describe('createConnection', () => {
  it('resolves to the socket and to what the proxy told', async () => {
    const target = await echo()
    const { port } = await startServer()
    const info = await SocksClient.createConnection({
      proxy: proxyAt(port),
      command: 'connect',
      destination: { host: '127.0.0.1', port: target.port },
    })
    expect(info.socket).toBeInstanceOf(Socket)
    expect(info.remoteHost).toEqual({ host: '127.0.0.1', port: expect.any(Number) })
    expect(await roundTrip(info.socket)).toBe('hello')
  })

  it('calls back, and then nobody need look at the promise', async () => {
    const target = await echo()
    const { port } = await startServer()
    const options = {
      proxy: proxyAt(port),
      command: 'connect',
      destination: { host: '127.0.0.1', port: target.port },
    } as const
    const info = await new Promise<SocksClientEstablishedEvent | undefined>((resolve, reject) => {
      void SocksClient.createConnection(options, (error, established) => {
        if (error === null) resolve(established)
        else reject(error)
      })
    })
    if (info === undefined) throw new Error('no information')
    expect(await roundTrip(info.socket)).toBe('hello')
  })

  it.each([
    ['SOCKS5 with a password', { type: 5, userId: USER, password: PASSWORD }],
    ['SOCKS4', { type: 4 }],
    ['SOCKS4 with a password, which is not sent', { type: 4, userId: USER, password: PASSWORD }],
    ['a proxy by its ipaddress', { host: undefined, ipaddress: '127.0.0.1' }],
    ['an empty host beside an ipaddress', { host: '', ipaddress: '127.0.0.1' }],
    ['empty credentials, which are none', { userId: '', password: '' }],
    ['a proxy by name', { host: 'localhost' }],
    ['keys that nobody knows', Object.assign({ userId: USER }, { country: 'XX' })],
  ] satisfies [string, Partial<SocksProxy>][])('%s', async (_name, more) => {
    const target = await echo()
    const { port } = await startServer({ socks4: true })
    const { socket } = await SocksClient.createConnection({
      proxy: { ...proxyAt(port), ...more },
      command: 'connect',
      destination: { host: 'localhost', port: target.port },
    })
    expect(await roundTrip(socket)).toBe('hello')
  })

  it('reads credentials that are not enumerable, as socks-proxy-agent hands them over', async () => {
    const proxy = proxyAt(0)
    Object.defineProperty(proxy, 'userId', { value: USER, enumerable: false })
    Object.defineProperty(proxy, 'password', { value: PASSWORD, enumerable: false })
    let told: unknown
    await withProxy(
      async (peer) => {
        expect(await peer.greet(0x02)).toEqual([0x00, 0x02])
        told = await peer.readCredentials()
        peer.send('01 00')
        await peer.readRequest()
        peer.send(SUCCESS)
      },
      async ({ port }) => {
        proxy.port = port
        const destination = { host: 'example.com', port: 443 }
        const { socket } = await SocksClient.createConnection({ proxy, command: 'connect', destination })
        socket.destroy()
      },
    )
    expect(told).toEqual({ username: USER, password: PASSWORD })
  })

  it('the socket ends by itself when the target does, as those of npm socks do', async () => {
    await withProxy(
      async (peer) => void (await peer.open()).end('bye'),
      async ({ port }) => {
        const destination = { host: 'example.com', port: 443 }
        const { socket } = await SocksClient.createConnection({ proxy: proxyAt(port), command: 'connect', destination })
        socket.resume()
        await once(socket, 'close')
        expect(socket.writableFinished).toBe(true)
      },
    )
  })

  it('set_tcp_nodelay false is Nagle again', async () => {
    const calls: unknown[] = []
    const original = Socket.prototype.setNoDelay
    cleanup(() => {
      Socket.prototype.setNoDelay = original
    })
    Socket.prototype.setNoDelay = function (...args) {
      calls.push(args[0])
      return original.apply(this, args)
    }
    await withProxy(
      (peer) => void peer.open(),
      async ({ port }) => {
        const options = { command: 'connect', destination: { host: 'example.com', port: 443 } } as const
        const plain = await SocksClient.createConnection({ ...options, proxy: proxyAt(port) })
        expect(calls).not.toContain(false)
        const slow = await SocksClient.createConnection({ ...options, proxy: proxyAt(port), set_tcp_nodelay: false })
        expect(calls).toContain(false)
        for (const { socket } of [plain, slow]) socket.destroy()
      },
    )
  })
})

describe('a client for one command', () => {
  it('is an EventEmitter that tells of its connection', async () => {
    const target = await echo()
    const { port } = await startServer()
    const client = new SocksClient({
      proxy: proxyAt(port),
      command: 'connect',
      destination: { host: '127.0.0.1', port: target.port },
    })
    expect(client).toBeInstanceOf(EventEmitter)
    expect(client.connect()).toBe(undefined)
    const [info] = await once(client, 'established')
    expect(await roundTrip(info.socket)).toBe('hello')
  })

  it('tells of a failure', async () => {
    await withProxy(
      async (peer) => {
        await peer.greet()
        await peer.readRequest()
        peer.send('05 05 00 01 00 00 00 00 00 00')
      },
      async ({ port }) => {
        const destination = { host: 'example.com', port: 443 }
        const client = new SocksClient({ proxy: proxyAt(port), command: 'connect', destination })
        client.connect()
        const [error] = await new Promise<unknown[]>((resolve) => client.on('error', (...args) => resolve(args)))
        expect(error).toMatchObject({ code: 'ERR_SOCKS_CONNECTION_REFUSED', replyCode: 5, hop: 0 })
      },
    )
  })

  it('a failure that nobody listens for ends no process', async () => {
    const proxy = await new ScriptedProxy((peer) => peer.reset()).listen()
    cleanup(() => proxy.close())
    const destination = { host: 'example.com', port: 443 }
    const client = new SocksClient({ proxy: proxyAt(proxy.port), command: 'connect', destination })
    client.connect()
    const [peer] = await proxy.connections(1)
    await peer?.closed
    // What would be thrown is thrown before this one has failed, too.
    await new Promise((resolve) => client.once('error', resolve).connect())
  })

  it('what a listener throws is not taken for a failure of the connection', async () => {
    const { port } = await startServer()
    const target = await echo()
    const destination = { host: '127.0.0.1', port: target.port }
    const client = new SocksClient({ proxy: proxyAt(port), command: 'connect', destination })
    const errors: unknown[] = []
    client.on('error', (error) => errors.push(error))
    // vitest would report it as well; for the time of this test it is ours.
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    cleanup(() => {
      for (const listener of listeners) process.on('uncaughtException', listener)
    })
    const thrown = new Promise((resolve) => process.once('uncaughtException', resolve))
    client.on('established', ({ socket }) => {
      socket.destroy()
      throw new Error('of the listener')
    })
    client.connect()
    expect(await thrown).toMatchObject({ message: 'of the listener' })
    expect(errors).toEqual([])
  })

  it('goes over a stream that is given to connect()', async () => {
    const target = await echo()
    const { port } = await startServer()
    const destination = { host: '127.0.0.1', port: target.port }
    const client = new SocksClient({ proxy: proxyAt(1), command: 'connect', destination })
    const stream = new Socket().connect(port, '127.0.0.1')
    client.connect(stream)
    const [info] = await once(client, 'established')
    expect(info.socket).toBe(stream)
    expect(await roundTrip(info.socket)).toBe('hello')
  })

  it('says what it was made for, without secrets', () => {
    const destination = { host: 'example.com', port: 443 }
    const proxy = proxyAt(1080, { userId: USER, password: PASSWORD })
    const client = new SocksClient({ proxy, command: 'bind', destination, timeout: 500, set_tcp_nodelay: true })
    expect(client.socksClientOptions).toEqual({
      command: 'bind',
      destination,
      proxy: { host: '127.0.0.1', port: 1080, type: 5 },
      timeout: 500,
      set_tcp_nodelay: true,
    })
    expect(client.proxies).toEqual(['socks5h://127.0.0.1:1080'])
    const printed = inspect(client, { showHidden: true, getters: true, depth: 9 }) + JSON.stringify(client)
    expect(printed).not.toContain(PASSWORD)
    expect(printed).not.toContain(USER)
  })

  it('has none of the methods that belong to the other kind of client', async () => {
    const destination = { host: 'example.com', port: 443 }
    const client = new SocksClient({ proxy: proxyAt(1080), command: 'connect', destination })
    await expect(client.bind()).rejects.toThrow(TypeError)
    await expect(client.resolve({ host: 'example.com' })).rejects.toThrow(TypeError)
    await expect(client.resolvePtr({ host: '127.0.0.1' })).rejects.toThrow(TypeError)
    await expect(client.udpAssociate()).rejects.toThrow(TypeError)
    expect(() => client.dialer()).toThrow(TypeError)
    expect(() => client.connect({ host: 'example.com', port: 443 })).toThrow(TypeError)
  })
})

describe('a client of ours', () => {
  it('connects as it always did', async () => {
    const target = await echo()
    const { port } = await startServer()
    const client = new SocksClient({ proxy: `socks5h://127.0.0.1:${port}` })
    const { socket, bound } = await client.connect({ host: '127.0.0.1', port: target.port })
    expect(bound.type).toBe('ipv4')
    expect(socket.allowHalfOpen).toBe(true)
    expect(await roundTrip(socket)).toBe('hello')
    expect(client.socksClientOptions).toBe(undefined)
    expect(client.proxies).toEqual([`socks5h://127.0.0.1:${port}`])
  })

  it('refuses what it does not know, by the same errors', async () => {
    expect(() => new SocksClient({ proxy: 'http://127.0.0.1' })).toThrow(
      expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
    )
    const unknown = { proxy: 'socks5h://127.0.0.1', timeoutMS: 5 }
    expect(() => new SocksClient(unknown)).toThrow(TypeError)
    // @ts-expect-error Nothing at all.
    expect(() => new SocksClient()).toThrow(TypeError)
    const client = new SocksClient({ proxy: 'socks5h://127.0.0.1' })
    await expect(client.connect()).rejects.toThrow(TypeError)
  })

  it('has every method that the client within has', () => {
    for (const kind of [
      (type: typeof CoreClient | typeof SocksClient) => type,
      (type: typeof CoreClient | typeof SocksClient) => type.prototype,
    ]) {
      const own = Object.getOwnPropertyNames(kind(SocksClient))
      const core = Object.getOwnPropertyNames(kind(CoreClient))
      expect(own).toEqual(expect.arrayContaining(core))
    }
  })

  it('is called SocksClient', () => {
    expect(SocksClient.name).toBe('SocksClient')
  })
})

describe('wrong options', () => {
  const destination = { host: 'example.com', port: 443 }
  const good = { proxy: proxyAt(1080), command: 'connect', destination } as const

  it.each([
    ['no options', undefined],
    ['a command that there is not', { ...good, command: 'listen' }],
    ['no command', { ...good, command: undefined }],
    ['no destination', { ...good, destination: undefined }],
    ['a host that is no text', { ...good, destination: { host: 1, port: 1 } }],
    ['a port that is text', { ...good, destination: { host: 'example.com', port: '443' } }],
    ['a port out of range', { ...good, destination: { host: 'example.com', port: 65_536 } }],
    ['an empty host', { ...good, destination: { host: '', port: 443 } }],
    ['no proxy', { ...good, proxy: undefined }],
    ['a URL as a proxy', { ...good, proxy: 'socks5h://127.0.0.1' }],
    ['no type', { ...good, proxy: { host: '127.0.0.1', port: 1080 } }],
    ['no host of the proxy', { ...good, proxy: { port: 1080, type: 5 } }],
    ['a port of the proxy that is 0', { ...good, proxy: proxyAt(0) }],
    ['a user that is no text', { ...good, proxy: { ...proxyAt(1080), userId: 5 } }],
    ['a negative timeout', { ...good, timeout: -1 }],
    ['a timeout that Node would take for none', { ...good, timeout: 2 ** 31 }],
    ['a timeout that is text', { ...good, timeout: '30' }],
    ['an existing socket that is none', { ...good, existing_socket: {} }],
    ['socket options that are none', { ...good, socket_options: 'localhost' }],
    ['another command than connect', { ...good, command: 'bind' }],
  ])('createConnection rejects before any I/O, and calls back: %s', async (_name, options) => {
    // @ts-expect-error That is what is tested.
    const outcome = SocksClient.createConnection(options)
    const error = await outcome.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(Error)
    expect(error).toHaveProperty('code')
    const called = await new Promise<unknown>((resolve) => {
      // @ts-expect-error As above.
      void SocksClient.createConnection(options, resolve).catch(() => {})
    })
    expect(called).toMatchObject({ message: error instanceof Error ? error.message : '' })
  })

  it.each([
    ['one proxy', { proxies: [proxyAt(1080)] }],
    ['no proxies', { proxies: undefined }],
    ['another command', { command: 'bind' }],
    ['a proxy that cannot be', { proxies: [proxyAt(1080), { host: 'a b', port: 1, type: 5 }] }],
  ])('createConnectionChain rejects before any I/O: %s', async (_name, more) => {
    const options = { command: 'connect', destination, proxies: [proxyAt(1080), proxyAt(1081)], ...more }
    // @ts-expect-error That is what is tested.
    await expect(SocksClient.createConnectionChain(options)).rejects.toHaveProperty('code')
  })

  it('SOCKS4 has no datagrams and no IPv6', async () => {
    const proxy = proxyAt(1080, { type: 4 })
    expect(() => new SocksClient({ proxy, command: 'associate', destination })).toThrow(
      expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
    )
    const outcome = SocksClient.createConnection({ proxy, command: 'connect', destination: { host: '::1', port: 1 } })
    await expect(outcome).rejects.toMatchObject({ code: 'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED' })
  })
})

it('the bytes on the wire are those that npm socks sends', async () => {
  const said: string[] = []
  await withProxy(
    async (peer) => {
      await peer.expect('05 01 00')
      peer.send('05 00')
      said.push((await peer.readRequest()).toString('hex'))
      peer.send(SUCCESS)
    },
    async ({ port }) => {
      for (const host of ['192.0.2.1', '2001:db8::1', 'example.com']) {
        const destination = { host, port: 80 }
        const { socket } = await SocksClient.createConnection({ proxy: proxyAt(port), command: 'connect', destination })
        socket.destroy()
      }
    },
  )
  expect(said).toEqual([
    hex('05 01 00 01 c0000201 0050').toString('hex'),
    hex('05 01 00 04 20010db8000000000000000000000001 0050').toString('hex'),
    hex(`05 01 00 03 0b ${Buffer.from('example.com').toString('hex')} 0050`).toString('hex'),
  ])
})
