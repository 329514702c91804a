import { once } from 'node:events'
import { createServer } from 'node:net'
import { duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import type {
  BindOptions,
  DeniedInfo,
  EstablishedInfo,
  OutboundRequest,
  ServerOptions,
} from '../../src/server/index.js'
import { dropped, peerOf, readReply, requestBind } from '../support/bind-client.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { connectRequest, GREETING_NO_AUTH, RawClient } from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'
import { refusedPort } from '../support/targets.js'

const BIND = ['connect', 'bind'] as const

function startBindServer(bind: BindOptions = {}, options: ServerOptions = {}) {
  return startServer({ commands: BIND, bind, ...options })
}

async function refusal(port: number, host: string): Promise<string> {
  const socket = peerOf({ host, port })
  const [error] = await once(socket, 'error')
  return error.code
}

describe('BIND', () => {
  it('S87 S88 listens before its first reply, at an address that can be reached, and tells the peer in the second', async () => {
    const fixture = await startBindServer()
    const told: EstablishedInfo[] = []
    fixture.server.on('established', (info) => told.push(info))
    const { client, first } = await requestBind(fixture)
    expect(first).toMatchObject({ code: 0, host: '127.0.0.1' })
    const peer = peerOf(first, '127.0.0.3')
    await once(peer, 'connect')
    const second = await readReply(client)
    expect(second).toEqual({ code: 0, host: '127.0.0.3', port: peer.localPort })
    expect(told).toMatchObject([{ command: 'bind', bound: { host: '127.0.0.3', port: peer.localPort } }])
    expect(told[0]?.rules).toEqual(['egress any'])
  })

  it('S88 what the peer sends early comes after the second reply', async () => {
    const fixture = await startBindServer()
    const { client, first } = await requestBind(fixture)
    peerOf(first).end('220 ready\r\n')
    expect((await readReply(client)).code).toBe(0)
    expect(String(await client.readToEnd())).toBe('220 ready\r\n')
  })

  it('S95 S96 what the client sends between the replies reaches the peer first, unread, and FINs pass both ways', async () => {
    const fixture = await startBindServer()
    const closing = fixture.closed()
    const { client, first } = await requestBind(fixture)
    // Looks like SOCKS, and is the peer's.
    await client.send(Buffer.from([5, 1, 0]))
    await client.send(Buffer.alloc(200_000, 'x'))
    client.stream.end('end')
    const peer = peerOf(first)
    const chunks: Buffer[] = []
    peer.on('data', (chunk) => chunks.push(chunk))
    await once(peer, 'end')
    const all = Buffer.concat(chunks)
    expect([all.length, all.subarray(0, 3).toString('hex'), String(all.subarray(-3))]).toEqual([
      200_006,
      '050100',
      'end',
    ])
    peer.end('after your FIN')
    await readReply(client)
    expect(String(await client.readToEnd())).toBe('after your FIN')
    expect(await closing).toMatchObject({ reason: 'end', bytesUp: 200_006, bytesDown: 14 })
  })

  it('S90 a stranger is dropped while the wait goes on, and told as denied', async () => {
    const fixture = await startBindServer()
    const denied: DeniedInfo[] = []
    fixture.server.on('denied', (info) => denied.push(info))
    const { client, first } = await requestBind(fixture, '127.0.0.2', 4000)
    for (let round = 0; round < 40; round++) {
      const stranger = peerOf(first, '127.0.0.4')
      await dropped(stranger)
    }
    const peer = peerOf(first, '127.0.0.2')
    expect(await readReply(client)).toMatchObject({ code: 0, host: '127.0.0.2' })
    peer.destroy()
    expect(denied.length).toBe(40)
    expect(denied[0]).toMatchObject({ rule: 'bind.peer strict', error: { code: 'ERR_SOCKS_NOT_ALLOWED' } })
  })

  it("S90 peer: 'any' takes whoever comes, and a function decides", async () => {
    const any = await startBindServer({ peer: 'any' })
    const { client, first } = await requestBind(any, '127.0.0.2', 4000)
    peerOf(first, '127.0.0.9')
    expect(await readReply(client)).toMatchObject({ code: 0, host: '127.0.0.9' })

    const asked = vi.fn((peer: { host: string }) => Promise.resolve(peer.host === '127.0.0.5'))
    const chosen = await startBindServer({ peer: asked })
    const second = await requestBind(chosen, '127.0.0.2', 4000)
    await dropped(peerOf(second.first, '127.0.0.2'))
    peerOf(second.first, '127.0.0.5')
    expect(await readReply(second.client)).toMatchObject({ code: 0, host: '127.0.0.5' })
    expect(asked.mock.calls.map(([peer]) => peer.host)).toEqual(['127.0.0.2', '127.0.0.5'])
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('boom')
      },
    ],
    ['rejects', () => Promise.reject(new Error('boom'))],
    ['returns undefined', () => undefined],
    ['returns 1', () => 1],
  ])('a peer rule that %s drops the peer and the wait goes on', async (_name, rule) => {
    let calls = 0
    // `as`: a rule in plain JavaScript may return anything.
    const peer = ((info: never, request: never) =>
      ++calls === 1 ? (rule as (...args: never[]) => unknown)(info, request) : true) as BindOptions['peer']
    const fixture = await startBindServer({ peer })
    const { client, first } = await requestBind(fixture)
    await dropped(peerOf(first))
    peerOf(first)
    expect((await readReply(client)).code).toBe(0)
  })

  it('S90 a peer rule that never settles ends with the timeout, and the peer with it', async () => {
    const fixture = await startBindServer({ peer: () => new Promise<boolean>(() => {}), timeoutMs: 60 })
    const { client, first } = await requestBind(fixture)
    const peer = peerOf(first)
    expect((await readReply(client)).code).toBe(6)
    await dropped(peer)
  })

  it('S90 a listener of a family that this host has no address of is answered 08', async () => {
    const fixture = await startBindServer({ host: '127.0.0.1' })
    const client = await fixture.client()
    client.write(
      Buffer.concat([GREETING_NO_AUTH, Buffer.from('0502000420010db8000000000000000000000001' + '0050', 'hex')]),
    )
    await client.read(2)
    expect((await readReply(client)).code).toBe(8)
  })

  it('S90 the listener takes the family of the address that was asked for', async () => {
    const fixture = await startBindServer()
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING_NO_AUTH, Buffer.from('05020004000000000000000000000000000000010050', 'hex')]))
    await client.read(2)
    const first = await readReply(client)
    expect(first).toMatchObject({ code: 0, host: '0000:0000:0000:0000:0000:0000:0000:0001' })
    peerOf({ host: '::1', port: first.port }, '::1')
    expect((await readReply(client)).code).toBe(0)
  })

  it('S91 for a name any of its addresses may connect, and no other', async () => {
    const fixture = await startBindServer(
      {},
      {
        lookup: (_name, _options, callback) =>
          callback(null, [
            { address: '127.0.0.6', family: 4 },
            { address: '127.0.0.7', family: 4 },
          ]),
      },
    )
    const { client, first } = await requestBind(fixture, 'ftp.example', 21)
    await dropped(peerOf(first, '127.0.0.8'))
    peerOf(first, '127.0.0.7')
    expect(await readReply(client)).toMatchObject({ code: 0, host: '127.0.0.7' })
  })

  it('S92 takes one peer: the listener is gone when the second reply is there', async () => {
    const fixture = await startBindServer()
    const { client, first } = await requestBind(fixture)
    peerOf(first)
    await readReply(client)
    expect(await refusal(first.port, first.host)).toBe('ECONNREFUSED')
  })

  it('S93 nobody comes: 06, and the listener is gone', async () => {
    const fixture = await startBindServer({ timeoutMs: 40 })
    const closing = fixture.closed()
    const { client, first } = await requestBind(fixture)
    expect(await readReply(client)).toEqual({ code: 6, host: '0.0.0.0', port: 0 })
    client.end()
    expect(await closing).toMatchObject({ reason: 'refused', error: { code: 'ERR_SOCKS_BIND_TIMEOUT' } })
    expect(await refusal(first.port, first.host)).toBe('ECONNREFUSED')
  })

  it.each(['end', 'reset'] as const)('S94 the client is gone by %s: the listener is closed at once', async (way) => {
    const fixture = await startBindServer()
    const closing = fixture.closed()
    const { client, first } = await requestBind(fixture)
    client[way]()
    expect(await closing).toMatchObject({ reason: 'aborted' })
    expect(await refusal(first.port, first.host)).toBe('ECONNREFUSED')
  })

  it('S94 a client that left before its listener was open leaves none behind', async () => {
    const judging = deferred()
    const verdict = deferred<boolean>()
    const fixture = await startBindServer(
      {},
      {
        authorize: () => {
          judging.resolve()
          return verdict.promise
        },
      },
    )
    const closing = fixture.closed()
    const client = await fixture.client()
    const before = descriptors()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('0.0.0.0', 0, 2)]))
    await judging.promise
    client.reset()
    await closing
    verdict.resolve(true)
    expect(await settlesAt(descriptors, before - 2)).toBe(before - 2)
  })

  it('S96 a port that is taken is answered 01', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    cleanup(() => taken.close())
    const port = (taken.address() as { port: number }).port // it listens
    const fixture = await startBindServer({ port: 'requested' })
    expect((await requestBind(fixture, '127.0.0.1', port)).first.code).toBe(1)
    const ranged = await startBindServer({ portRange: [port, port] })
    expect((await requestBind(ranged)).first.code).toBe(1)
  })

  it('S97 DST.PORT is ignored by default, and the port to listen on where it is asked for', async () => {
    const port = await refusedPort()
    const ignoring = await requestBind(await startBindServer(), '127.0.0.1', port)
    expect(ignoring.first.code).toBe(0)
    expect(ignoring.first.port).not.toBe(port)
    const granting = await requestBind(await startBindServer({ port: 'requested' }), '127.0.0.1', port)
    expect(granting.first).toMatchObject({ code: 0, port })
  })

  it('S97 a range of ports is kept to, also by a wish', async () => {
    const port = await refusedPort()
    const fixture = await startBindServer({ port: 'requested', portRange: [port, port] })
    expect((await requestBind(fixture, '127.0.0.1', port === 65_535 ? 1 : port + 1)).first.code).toBe(2)
    expect((await requestBind(fixture, '127.0.0.1', 0)).first).toMatchObject({ code: 0, port })
  })

  it('S97 rules see the request first and the peer then, with what was asked for', async () => {
    const seen: OutboundRequest[] = []
    const fixture = await startBindServer(
      {},
      {
        authorize: (request) => {
          seen.push(request)
          return request.requested === undefined || request.host === '127.0.0.3'
        },
      },
    )
    const { client, first } = await requestBind(fixture, '0.0.0.0', 21)
    await dropped(peerOf(first, '127.0.0.2'))
    peerOf(first, '127.0.0.3')
    expect((await readReply(client)).host).toBe('127.0.0.3')
    expect(seen.map(({ command, host }) => `${command} ${host}`)).toEqual([
      'bind 0.0.0.0',
      'bind 127.0.0.2',
      'bind 127.0.0.3',
    ])
    expect(seen[0]?.requested).toBeUndefined()
    expect(seen[1]?.requested).toEqual({ type: 'ipv4', host: '0.0.0.0', port: 21 })
  })

  it('S97 the egress policy judges the address that was asked for, and the peer that came', async () => {
    const fixture = await startBindServer({ peer: 'any' }, { egress: ({ host }) => host === '127.0.0.2' })
    expect((await requestBind(fixture, '127.0.0.3', 1)).first.code).toBe(2)
    const { client, first } = await requestBind(fixture)
    await dropped(peerOf(first, '127.0.0.3'))
    peerOf(first, '127.0.0.2')
    expect(await readReply(client)).toMatchObject({ code: 0, host: '127.0.0.2' })
  })

  it('is answered 07 unless it is served, and where a dialer has all traffic', async () => {
    expect((await requestBind(await startServer())).first.code).toBe(7)
    const bridged = await startServer({ commands: BIND, dial: () => new Promise<never>(() => {}) })
    expect((await requestBind(bridged)).first.code).toBe(7)
  })

  it('tells another address where peers reach this host by one', async () => {
    const fixed = await startBindServer({ advertise: '203.0.113.7' })
    expect((await requestBind(fixed)).first).toMatchObject({ code: 0, host: '203.0.113.7' })
    const mapped = await startBindServer({
      host: '0.0.0.0',
      advertise: ({ host, port }) => ({ host: host === '127.0.0.1' ? '198.51.100.1' : host, port: port ^ 1 }),
    })
    expect((await requestBind(mapped)).first).toMatchObject({ code: 0, host: '198.51.100.1' })
  })

  it('a function of the address that throws is answered 01, with nothing left listening', async () => {
    const before = descriptors()
    const fixture = await startBindServer({
      advertise: () => {
        throw new Error('boom')
      },
    })
    const { client, first } = await requestBind(fixture)
    expect(first.code).toBe(1)
    client.end()
    await client.closed
    expect(await settlesAt(descriptors, before + 1)).toBe(before + 1)
  })

  it('listens elsewhere by a hook, whose one peer is judged, too', async () => {
    const [near, far] = duplexPair()
    const closed = vi.fn()
    const asked = vi.fn()
    const fixture = await startBindServer(
      {
        listen: (request) => {
          asked(request.host, request.port)
          return {
            address: { host: '192.0.2.1', port: 2000 },
            accept: async () => ({ socket: near, peer: { host: '192.0.2.9', port: 20 } }),
            close: closed,
          }
        },
      },
      {
        dial: () => {
          throw new Error('not asked')
        },
      },
    )
    const { client, first } = await requestBind(fixture, '192.0.2.9', 21)
    expect(first).toEqual({ code: 0, host: '192.0.2.1', port: 2000 })
    expect(await readReply(client)).toEqual({ code: 0, host: '192.0.2.9', port: 20 })
    far.end('hello')
    expect(String(await client.readToEnd())).toBe('hello')
    expect(asked.mock.calls).toEqual([['192.0.2.9', 21]])
    expect(closed).toHaveBeenCalled()

    const stranger = await startBindServer(
      {
        listen: () => ({
          address: { host: '192.0.2.1', port: 2000 },
          accept: async () => ({ socket: duplexPair()[0], peer: { host: '192.0.2.66', port: 20 } }),
          close: closed,
        }),
      },
      {
        dial: () => {
          throw new Error('not asked')
        },
      },
    )
    const second = await requestBind(stranger, '192.0.2.9', 21)
    expect((await readReply(second.client)).code).toBe(2)
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('boom')
      },
      1,
    ],
    ['rejects with a system error', () => Promise.reject(Object.assign(new Error('x'), { code: 'EACCES' })), 2],
    ['returns nothing', () => undefined, 1],
    ['returns no address', () => ({ accept() {}, close() {} }), 1],
  ])('a listen hook that %s is answered by one failure', async (_name, listen, code) => {
    // `as`: a hook in plain JavaScript may return anything.
    const fixture = await startBindServer({ listen: listen as unknown as BindOptions['listen'] })
    const { client, first } = await requestBind(fixture)
    expect(first.code).toBe(code)
    expect((await client.readToEnd()).length).toBe(0)
  })

  it('S144 close waits for a BIND listener until the grace is over, then ends it', async () => {
    const fixture = await startBindServer()
    const { client, first } = await requestBind(fixture)
    const closing = fixture.server.close({ graceMs: 5_000 })
    peerOf(first).end('still served')
    await readReply(client)
    client.end()
    expect(String(await client.readToEnd())).toBe('still served')
    await closing

    const other = await startBindServer()
    const late = await requestBind(other)
    await other.server.close({ graceMs: 10 })
    expect(await refusal(late.first.port, late.first.host)).toBe('ECONNREFUSED')
  })

  it('a stream without an address of its own is told a listener on loopback', async () => {
    const fixture = await startBindServer()
    const [near, far] = duplexPair()
    fixture.server.handle(near, { clientAddress: '127.0.0.1' })
    const client = new RawClient(far)
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('0.0.0.0', 0, 2)]))
    await client.read(2)
    const first = await readReply(client)
    expect(first).toMatchObject({ code: 0, host: '127.0.0.1' })
    peerOf(first)
    expect((await readReply(client)).code).toBe(0)
    client.end()
  })

  it('a thousand in a row leave no descriptor and no listener behind', { timeout: 60_000 }, async () => {
    const fixture = await startBindServer()
    const cycle = async () => {
      const { client, first } = await requestBind(fixture)
      const peer = peerOf(first)
      await readReply(client)
      peer.end()
      client.end()
      await client.closed
    }
    await cycle()
    const before = await settlesAt(descriptors, descriptors())
    for (let round = 0; round < 1_000; round++) await cycle()
    const after = await settlesAt(descriptors, before)
    console.log(`1,000 BINDs: descriptors before ${before}, after ${after}`)
    expect(after).toBe(before)
    expect(fixture.server.stats()).toMatchObject({
      connections: 0,
      listening: 0,
      tunnels: 0,
      established: 1_001,
      failed: 0,
    })
  })
})
