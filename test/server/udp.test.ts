import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { Command, decodeUdpDatagram, encodeUdpDatagram } from '../../src/codec/index.js'
import {
  createSocksServer,
  type DeniedInfo,
  type ServerOptions,
  type UdpOptions,
  userPass,
} from '../../src/server/index.js'
import { readReply } from '../support/bind-client.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { connectRequest, credentials, GREETING_NO_AUTH, GREETING_USER_PASS, RawClient } from '../support/raw-client.js'
import { cleanup, type Fixture, startServer } from '../support/servers.js'

interface Endpoint {
  readonly socket: UdpSocket
  readonly port: number
}

async function endpoint(host = '127.0.0.1'): Promise<Endpoint> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  socket.bind(0, host)
  await once(socket, 'listening')
  cleanup(() => {
    try {
      socket.close()
    } catch {
      // Closed by the test.
    }
  })
  return { socket, port: socket.address().port }
}

/** Sends back what it gets. */
async function startUdpEcho(host?: string): Promise<Endpoint & { readonly from: number[] }> {
  const echo = await endpoint(host)
  const from: number[] = []
  echo.socket.on('message', (data, { address, port }) => {
    from.push(port)
    echo.socket.send(data, port, address)
  })
  return { ...echo, from }
}

function startUdpServer(udp: UdpOptions = {}, options: ServerOptions = {}): Promise<Fixture> {
  return startServer({ commands: ['connect', 'udp-associate'], udp, ...options })
}

async function associate(fixture: Pick<Fixture, 'client'>, host = '0.0.0.0', port = 0) {
  const control = await fixture.client()
  control.write(Buffer.concat([GREETING_NO_AUTH, connectRequest(host, port, Command.udpAssociate)]))
  await control.read(2)
  return { control, reply: await readReply(control) }
}

function datagram(
  port: number,
  text: string,
  host = '127.0.0.1',
  type: 'ipv4' | 'domain' | 'ipv6' = 'ipv4',
): Uint8Array {
  return encodeUdpDatagram({ fragment: 0, address: { type, host, port }, payload: Buffer.from(text) })
}

/** The next datagram that an endpoint gets, as its parts. */
async function received({ socket }: Endpoint): Promise<{ host: string; port: number; text: string }> {
  const [data] = await once(socket, 'message')
  const { address, payload } = decodeUdpDatagram(data)?.value ?? {
    address: { host: '', port: 0 },
    payload: Buffer.alloc(0),
  }
  return { host: address.host, port: address.port, text: Buffer.from(payload).toString() }
}

describe('UDP ASSOCIATE', () => {
  it('S99 S115 S122 relays datagrams from where the reply says, and counts what it moves', async () => {
    const echo = await startUdpEcho()
    const fixture = await startUdpServer()
    const { control, reply } = await associate(fixture)
    expect(reply).toMatchObject({ code: 0, host: '127.0.0.1' })
    const client = await endpoint()
    client.socket.send(datagram(echo.port, 'ping'), reply.port, reply.host)
    expect(await received(client)).toEqual({ host: '127.0.0.1', port: echo.port, text: 'ping' })
    expect(fixture.server.stats()).toMatchObject({
      connections: 1,
      associations: 1,
      tunnels: 0,
      bytesUp: 4,
      bytesDown: 4,
    })
    const closing = fixture.closed()
    control.end()
    expect(await closing).toMatchObject({ reason: 'end', bytesUp: 4, bytesDown: 4 })
    expect(fixture.server.stats()).toMatchObject({ associations: 0, established: 1, failed: 0 })
  })

  it.each(['end', 'reset'] as const)('S98 the association ends at once with its connection, by %s', async (way) => {
    const before = await settlesAt(descriptors, descriptors())
    const echo = await startUdpEcho()
    const fixture = await startUdpServer()
    const { control, reply } = await associate(fixture)
    const client = await endpoint()
    client.socket.send(datagram(echo.port, 'one'), reply.port, reply.host)
    await received(client)
    const closing = fixture.closed()
    control[way]()
    await closing
    // The relay's port is free again, and what comes to it goes nowhere.
    const successor = createSocket('udp4')
    successor.bind(reply.port, reply.host)
    await once(successor, 'listening')
    successor.close()
    client.socket.close()
    echo.socket.close()
    // The listener is left.
    expect(await settlesAt(descriptors, before + 1)).toBe(before + 1)
  })

  it('S62 S98 what is said on the control connection is dropped, and never blocks it', async () => {
    const echo = await startUdpEcho()
    const fixture = await startUdpServer()
    const { control, reply } = await associate(fixture)
    for (let round = 0; round < 64; round++) await control.send(Buffer.alloc(65_536, 5))
    const client = await endpoint()
    client.socket.send(datagram(echo.port, 'still'), reply.port, reply.host)
    expect((await received(client)).text).toBe('still')
    const closing = fixture.closed()
    control.end()
    expect((await closing).reason).toBe('end')
  })

  it('S102 S105 of the address in the request only the client itself is believed, with its port', async () => {
    const echo = await startUdpEcho()
    const fixture = await startUdpServer()
    const client = await endpoint()
    const other = await endpoint()
    // Somebody else's address: not trusted, and in nobody's way.
    const foreign = await associate(fixture, '192.0.2.1', 53)
    client.socket.send(datagram(echo.port, 'a'), foreign.reply.port, foreign.reply.host)
    expect((await received(client)).text).toBe('a')
    // The client's own, with a port: no other port of it is taken.
    const named = await associate(fixture, '127.0.0.1', client.port)
    other.socket.send(datagram(echo.port, 'b'), named.reply.port, named.reply.host)
    client.socket.send(datagram(echo.port, 'c'), named.reply.port, named.reply.host)
    expect((await received(client)).text).toBe('c')
    expect(echo.from.length).toBe(2)
  })

  it('S103 S104 nothing is relayed or answered to another address, or another port, of this host', async () => {
    const echo = await startUdpEcho()
    const fixture = await startUdpServer({ host: '127.0.0.1' })
    const { reply } = await associate(fixture)
    const client = await endpoint()
    const hijackers = [await endpoint('127.0.0.2'), await endpoint()]
    const heard = vi.fn()
    for (const { socket } of hijackers) socket.on('message', heard)
    hijackers[0]?.socket.send(datagram(echo.port, 'first, from elsewhere'), reply.port, reply.host)
    // Garbage of the right address does not fix its port.
    hijackers[1]?.socket.send(Buffer.from([1, 2, 3]), reply.port, reply.host)
    await new Promise((resolve) => setImmediate(resolve))
    client.socket.send(datagram(echo.port, 'mine'), reply.port, reply.host)
    expect((await received(client)).text).toBe('mine')
    for (const { socket } of hijackers) socket.send(datagram(echo.port, 'stolen'), reply.port, reply.host)
    client.socket.send(datagram(echo.port, 'again'), reply.port, reply.host)
    expect((await received(client)).text).toBe('again')
    expect([heard.mock.calls.length, echo.from.length]).toEqual([0, 2])
  })

  it('S120 rules are asked for each destination once, with the identity and not with the address of the request', async () => {
    const echo = await startUdpEcho()
    const refused = await startUdpEcho()
    const asked: string[] = []
    const fixture = await startUdpServer(
      {},
      {
        auth: userPass({ alice: 'pw' }),
        authorize: ({ command, host, port, identity }) => {
          asked.push(`${command} ${host}:${port} ${identity.username}`)
          return port !== refused.port
        },
      },
    )
    const denied: DeniedInfo[] = []
    fixture.server.on('denied', (info) => denied.push(info))
    const control = await fixture.client()
    control.write(Buffer.concat([GREETING_USER_PASS, credentials('alice', 'pw'), connectRequest('0.0.0.0', 0, 3)]))
    await control.read(4)
    const reply = await readReply(control)
    const client = await endpoint()
    for (const text of ['1', '2', '3']) {
      client.socket.send(datagram(refused.port, text), reply.port, reply.host)
      client.socket.send(datagram(echo.port, text), reply.port, reply.host)
      expect((await received(client)).text).toBe(text)
    }
    expect(asked.sort()).toEqual([`udp 127.0.0.1:${echo.port} alice`, `udp 127.0.0.1:${refused.port} alice`].sort())
    expect(denied).toMatchObject([{ rule: 'authorize authorize', error: { target: `127.0.0.1:${refused.port}` } }])
    expect(refused.from).toEqual([])
  })

  it('S120 S111 the egress policy judges what a name resolves to, and what was judged is sent to', async () => {
    const echo = await startUdpEcho()
    const fixture = await startUdpServer(
      {},
      {
        egress: ({ host }) => host === '127.0.0.1',
        lookup: (name, _options, callback) =>
          callback(null, [{ address: name === 'bad.example' ? '127.0.0.9' : '127.0.0.1', family: 4 }]),
      },
    )
    const { reply } = await associate(fixture)
    const client = await endpoint()
    client.socket.send(datagram(echo.port, 'bad', 'bad.example', 'domain'), reply.port, reply.host)
    client.socket.send(datagram(echo.port, 'good', 'good.example', 'domain'), reply.port, reply.host)
    expect((await received(client)).text).toBe('good')
    expect(echo.from.length).toBe(1)
  })

  it('S122 a datagram for the relay itself, or for that of another client, goes nowhere', async () => {
    const echo = await startUdpEcho()
    const fixture = await startUdpServer()
    const first = await associate(fixture)
    const second = await associate(fixture)
    const client = await endpoint()
    for (const { reply } of [first, second])
      client.socket.send(datagram(reply.port, 'loop'), first.reply.port, first.reply.host)
    client.socket.send(datagram(echo.port, 'after'), first.reply.port, first.reply.host)
    expect((await received(client)).text).toBe('after')
  })

  it('S122 the same port number of TCP is somebody else, who may be dialed', async () => {
    const fixture = await startUdpServer()
    const tcp = createServer((socket) => socket.on('error', () => {}).end('tcp')).listen(0, '127.0.0.1')
    await once(tcp, 'listening')
    cleanup(() => tcp.close())
    const { port } = tcp.address() as { port: number } // it listens
    fixture.server.outbound.ownDatagramAddresses.add('127.0.0.1', port)
    const tunnel = await fixture.client()
    tunnel.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', port)]))
    expect((await tunnel.readToEnd()).subarray(12).toString()).toBe('tcp')
  })

  it('S121 one client has a bounded number of associations, and gets back what it gives up', async () => {
    const fixture = await startUdpServer({ maxAssociationsPerClient: 2 })
    const rules: string[] = []
    fixture.server.on('denied', ({ rule }) => rules.push(rule))
    const first = await associate(fixture)
    await associate(fixture)
    expect((await associate(fixture)).reply.code).toBe(1)
    expect(rules).toEqual(['udp.maxAssociationsPerClient'])
    const closing = new Promise((resolve) =>
      fixture.server.on('closed', ({ reason }) => reason === 'reset' && resolve(reason)),
    )
    first.control.reset()
    await closing
    expect((await associate(fixture)).reply.code).toBe(0)
  })

  it('S123 without an address of the client it is refused, unless the first sender is said to be it', async () => {
    const echo = await startUdpEcho()
    const strict = await startUdpServer()
    const overDuplex = async ({ server }: Fixture) => {
      const [near, far] = duplexPair()
      server.handle(near)
      const control = new RawClient(far)
      control.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('0.0.0.0', 0, 3)]))
      await control.read(2)
      return { control, reply: await readReply(control) }
    }
    expect((await overDuplex(strict)).reply.code).toBe(2)
    const open = await startUdpServer({ client: 'first-sender' }, { egress: () => true })
    const { reply, control } = await overDuplex(open)
    expect(reply).toMatchObject({ code: 0, host: '127.0.0.1' })
    const client = await endpoint('127.0.0.3')
    client.socket.send(datagram(echo.port, 'first'), reply.port, reply.host)
    expect((await received(client)).text).toBe('first')
    control.end()
  })

  it('S125 07 unless it is served, 07 beside a dialer, 01 where no socket can be bound', async () => {
    expect((await associate(await startServer())).reply.code).toBe(7)
    expect((await associate(await startUdpServer({}, { dial: () => new Promise<never>(() => {}) }))).reply.code).toBe(7)
    const taken = await endpoint()
    const full = await startUdpServer({ portRange: [taken.port, taken.port] })
    expect((await associate(full)).reply.code).toBe(1)
  })

  it('S99 tells the address and keeps to the ports that it is set to', async () => {
    const free = await endpoint()
    free.socket.close()
    const fixture = await startUdpServer({ advertise: '203.0.113.9', portRange: [free.port, free.port] })
    expect((await associate(fixture)).reply).toEqual({ code: 0, host: '203.0.113.9', port: free.port })
    const mapped = await startUdpServer({ advertise: ({ port }) => ({ host: '198.51.100.2', port: port ^ 1 }) })
    expect((await associate(mapped)).reply).toMatchObject({ code: 0, host: '198.51.100.2' })
    const broken = await startUdpServer({ advertise: () => ({ host: '', port: -1 }) })
    expect((await associate(broken)).reply.code).toBe(1)
  })

  it('S139 the address that a PROXY header tells is the one whose datagrams are taken', async () => {
    const echo = await startUdpEcho()
    const server = createSocksServer({ commands: ['udp-associate'], proxyProtocol: ['127.0.0.1'], egress: () => true })
    const { port } = await server.listen(0)
    cleanup(() => server.close({ graceMs: 0 }))
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    await once(socket, 'connect')
    cleanup(() => socket.destroy())
    const control = new RawClient(socket)
    control.write(Buffer.from('PROXY TCP4 127.0.0.5 127.0.0.1 1111 1080\r\n'))
    control.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('0.0.0.0', 0, 3)]))
    await control.read(2)
    const reply = await readReply(control)
    const balancer = await endpoint()
    balancer.socket.send(datagram(echo.port, 'from the balancer'), reply.port, reply.host)
    const client = await endpoint('127.0.0.5')
    client.socket.send(datagram(echo.port, 'from the client'), reply.port, reply.host)
    expect((await received(client)).text).toBe('from the client')
    expect(echo.from.length).toBe(1)
  })

  it('S124 an IPv6 client reaches an IPv4 target, and the other way round', async () => {
    const echo4 = await startUdpEcho()
    const echo6 = await startUdpEcho('::1')
    const server = createSocksServer({ commands: ['udp-associate'] })
    cleanup(() => server.close({ graceMs: 0 }))
    for (const [host, family] of [
      ['127.0.0.1', 4],
      ['::1', 6],
    ] as const) {
      const { port } = await server.listen({ host, port: 0 })
      const fixture = { client: () => RawClient.connect(port, { host }) }
      const { control, reply } = await associate(fixture)
      const client = await endpoint(host)
      const relayHost = family === 4 ? reply.host : '::1'
      client.socket.send(datagram(echo4.port, 'four'), reply.port, relayHost)
      expect(await received(client)).toEqual({ host: '127.0.0.1', port: echo4.port, text: 'four' })
      client.socket.send(datagram(echo6.port, 'six', '::1', 'ipv6'), reply.port, relayHost)
      expect(await received(client)).toEqual({ host: '::1', port: echo6.port, text: 'six' })
      control.end()
    }
  })

  it('S144 close waits for associations until the grace is over, then ends them', async () => {
    const fixture = await startUdpServer()
    const { control } = await associate(fixture)
    const started = fixture.server.close({ graceMs: 60_000 })
    control.end()
    await started
    const other = await startUdpServer()
    const { control: late } = await associate(other)
    await other.server.close({ graceMs: 10 })
    expect((await late.readToEnd()).length).toBe(0)
  })

  it('relays elsewhere by a hook, whose relay ends with the connection', async () => {
    const close = vi.fn()
    const fixture = await startUdpServer(
      { associate: () => ({ address: { host: '192.0.2.1', port: 4000 }, close }) },
      { dial: () => new Promise<never>(() => {}) },
    )
    const { control, reply } = await associate(fixture)
    expect(reply).toEqual({ code: 0, host: '192.0.2.1', port: 4000 })
    const closing = fixture.closed()
    control.end()
    await closing
    expect(close).toHaveBeenCalled()
    for (const nonsense of [
      () => undefined,
      () => ({}),
      () => {
        throw new Error('x')
      },
      () => ({ close, address: { host: '', port: 1 } }),
    ]) {
      // `as`: a hook in plain JavaScript may return anything.
      const odd = await startUdpServer({ associate: nonsense as unknown as NonNullable<UdpOptions['associate']> })
      expect((await associate(odd)).reply.code).toBe(1)
    }
  })

  it.each([
    ['idleTimeoutMs', -1],
    ['maxMappings', 0],
    ['maxAssociationsPerClient', 1.5],
    ['host', 'localhost'],
    ['advertise', 5],
    ['portRange', [5, 4]],
    ['portRange', [0, 4]],
    ['nat', 'symmetric'],
    ['client', 'anybody'],
    ['replyAddress', 'x'],
    ['typo', 1],
  ])('option udp.%s: %j is refused', (name, value) => {
    expect(() => createSocksServer({ udp: { [name]: value } })).toThrow(/udp|option|unknown/)
  })
})
