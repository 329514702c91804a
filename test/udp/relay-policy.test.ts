import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Destination } from '../../src/codec/index.js'
import { type Decide, openUdpRelay, type UdpTarget } from '../../src/udp/index.js'
import { expectInvalidArgument, expectOutOfRange } from '../codec/laws.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { anywhere, dropsOf, nextText, openRelay, Peer, settle, unwrap, wrap } from './support.js'

const LOCAL = { type: 'ipv4', host: '127.0.0.1' } as const

function name(host: string, port = 9) {
  return { type: 'domain', host, port } as const
}

/** `decide` that writes down what it is asked, and its signals. */
function recorded(answer: (destination: Destination) => unknown) {
  const asked: string[] = []
  const signals: AbortSignal[] = []
  const decide: Decide = (destination, signal) => {
    asked.push(`${destination.host}:${destination.port}`)
    signals.push(signal)
    // Whatever an application may return.
    return answer(destination) as UdpTarget
  }
  return { asked, signals, decide }
}

describe('UdpRelay and its rules', () => {
  it('S120 each destination is asked for once, canonical, and what is denied is dropped', async () => {
    const [client, echo, denied] = [await Peer.open(), await Peer.echo(), await Peer.open()]
    const { asked, decide } = recorded(({ port }) => (port === echo.port ? LOCAL : undefined))
    const relay = await openRelay({ decide })
    for (let round = 0; round < 3; round++) {
      await client.send(wrap(denied.address, 'x'), relay.address)
      await client.send(wrap(name('Denied.TEST.', denied.port), 'x'), relay.address)
      await settle(client, relay, echo)
    }
    expect(asked).toEqual([`127.0.0.1:${denied.port}`, `denied.test:${denied.port}`, `127.0.0.1:${echo.port}`])
    expect(dropsOf(relay)).toEqual({ denied: 6 })
    expect(denied.pending).toBe(0)
  })

  it('S111 S120 when its time is over the answer is asked for again, without holding anything up', async () => {
    const [client, first, echo] = [await Peer.open(), await Peer.open(), await Peer.echo()]
    const second = await Peer.open('127.0.0.2', first.port)
    const answer = deferred<UdpTarget>()
    const current: (UdpTarget | undefined)[] = []
    const relay = await openRelay({
      decisionTtlMs: 10,
      decide: ({ type, host }, _signal, used) => {
        if (type !== 'domain') return { type, host }
        current.push(used)
        return current.length === 1 ? LOCAL : answer.promise
      },
    })
    const to = name('moving.test', first.port)
    while (current.length < 2) {
      await client.send(wrap(to, 'old'), relay.address)
      const { data, from } = await first.next()
      expect(data.toString()).toBe('old')
      await first.send(Buffer.from('answer'), { host: '127.0.0.1', port: from.port })
      expect(unwrap((await client.next()).data).address).toEqual(first.address)
    }
    expect(current).toEqual([undefined, LOCAL])
    await client.send(wrap(to, 'still old'), relay.address)
    expect((await first.next()).data.toString()).toBe('still old')
    answer.resolve({ type: 'ipv4', host: '127.0.0.2' })
    await settle(client, relay, echo)
    await client.send(wrap(to, 'new'), relay.address)
    const { data, from } = await second.next()
    expect(data.toString()).toBe('new')
    await second.send(Buffer.from('answer'), { host: '127.0.0.1', port: from.port })
    expect(unwrap((await client.next()).data).address).toEqual(second.address)
  })

  it('S120 what throws, rejects or makes no sense counts as a refusal, and is told', async () => {
    const answers: Record<string, () => unknown> = {
      'throws.test': () => {
        throw new Error('no')
      },
      'rejects.test': () => Promise.reject(new Error('no')),
      'rejects-nothing.test': () => Promise.reject(undefined),
      'true.test': () => true,
      'null.test': () => null,
      'text.test': () => '127.0.0.1',
      'name.test': () => ({ type: 'domain', host: 'localhost' }),
      'empty.test': () => ({ type: 'ipv4', host: '' }),
      'short.test': () => ({ type: 'ipv4', host: '127.1' }),
      'zone.test': () => ({ type: 'ipv6', host: 'fe80::1%lo' }),
      'getter.test': () => ({
        get host() {
          throw new Error('no')
        },
      }),
    }
    const errors: unknown[] = []
    const { decide } = recorded(({ host }) => (answers[host] ?? (() => LOCAL))())
    const relay = await openRelay({ decide, onError: (error) => errors.push(error) })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    for (const host of Object.keys(answers)) await client.send(wrap(name(host, echo.port), 'x'), relay.address)
    await settle(client, relay, echo)
    const count = Object.keys(answers).length
    expect(dropsOf(relay)).toEqual({ failed: count })
    expect(errors).toHaveLength(count)
    expect(echo.pending).toBe(1)
  })

  it('S120 what never answers is given up in time: its signal aborts, what waited is dropped', async () => {
    const { signals, decide } = recorded(({ type }) => (type === 'domain' ? new Promise(() => {}) : LOCAL))
    const relay = await openRelay({ decide, decisionTimeoutMs: 30 })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    await client.send(wrap(name('never.test'), 'a'), relay.address)
    await client.send(wrap(name('never.test'), 'b'), relay.address)
    await settle(client, relay, echo)
    const [signal] = signals
    if (!signal?.aborted) await new Promise((resolve) => signal?.addEventListener('abort', resolve))
    expect(dropsOf(relay)).toEqual({ failed: 2 })
  })

  it('S111 S121 what waits is bounded: 64 questions, 64 datagrams for each, 1 MiB for all', async () => {
    const { asked, decide } = recorded(({ type }) => (type === 'domain' ? new Promise(() => {}) : LOCAL))
    const relay = await openRelay({ decide, decisionTimeoutMs: 0 })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    await settle(client, relay, echo)
    for (let index = 0; index < 100; index++) await client.send(wrap(name('one.test'), 'x'), relay.address)
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ backlog: 36 })
    for (let index = 0; index < 20; index++) {
      await client.send(wrap(name('large.test'), Buffer.alloc(65_000)), relay.address)
      await settle(client, relay, echo)
    }
    // 64 bytes wait already; sixteen times 65,000 are less than 1 MiB, seventeen are more.
    expect(dropsOf(relay)).toEqual({ backlog: 40 })
    for (let index = 0; index < 100; index++) {
      await client.send(wrap(name(`n${index}.test`), ''), relay.address)
      // Known destinations are served all the while.
      await settle(client, relay, echo)
    }
    expect(asked).toHaveLength(1 + 64)
    expect(dropsOf(relay)).toEqual({ backlog: 40 + 38 })
  })

  it('S111 S121 a question that nobody waits for any more counts until it is answered', async () => {
    const { asked, signals, decide } = recorded(() => new Promise(() => {}))
    const relay = await openRelay({ decide, decisionTimeoutMs: 0, maxMappings: 4 })
    const client = await Peer.open()
    for (let index = 0; index < 200; index++) await client.send(wrap(name(`n${index}.test`), 'x'), relay.address)
    await settlesAt(() => relay.stats().dropped.backlog, 60 + 136)
    expect(asked).toHaveLength(64)
    expect(signals.filter(({ aborted }) => aborted)).toHaveLength(60)
    expect(dropsOf(relay)).toEqual({ backlog: 60 + 136 })
  })

  it('S121 destinations that nobody can be asked about push no other out', async () => {
    const { asked, decide } = recorded(({ type }) => (type === 'domain' ? new Promise(() => {}) : LOCAL))
    const relay = await openRelay({ decide, decisionTimeoutMs: 0, maxMappings: 65 })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    await settle(client, relay, echo)
    for (let index = 0; index < 300; index++) {
      await client.send(wrap(name(`n${index}.test`), ''), relay.address)
      if (index % 50 === 0) await settle(client, relay, echo)
    }
    await settle(client, relay, echo)
    expect(asked.filter((host) => host.startsWith('127.0.0.1'))).toHaveLength(1)
    expect(relay.stats().mappings).toBe(65)
  })

  it('S121 what no longer waits makes room for others', async () => {
    const answers = new Map<string, (target: undefined) => void>()
    const relay = await openRelay({
      decide: ({ host }) => (host.endsWith('.test') ? new Promise((resolve) => answers.set(host, resolve)) : LOCAL),
    })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    for (const host of ['one.test', 'two.test', 'three.test']) {
      for (let index = 0; index < 16; index++) {
        await client.send(wrap(name(host), Buffer.alloc(65_000)), relay.address)
        await settle(client, relay, echo)
      }
      answers.get(host)?.(undefined)
      await settle(client, relay, echo)
    }
    expect(dropsOf(relay)).toEqual({ denied: 48 })
  })

  it('S114 S120 a destination that moves to where the system does not let us is counted again', async () => {
    let answer: UdpTarget = LOCAL
    const relay = await openRelay({ localAddress: '127.0.0.1', decisionTtlMs: 5, decide: async () => answer })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    await settle(client, relay, echo)
    // From loopback there is no way to another network.
    answer = { type: 'ipv4', host: '192.0.2.1' }
    while (relay.stats().dropped.system === 0) {
      await client.send(wrap(echo.address, 'x'), relay.address)
      await pause(2)
    }
  })

  it('S116 who the client has not sent to may not answer; from another port he may', async () => {
    const [relay, client, target] = [await openRelay(), await Peer.open(), await Peer.open()]
    const [stranger, neighbour] = [await Peer.open('127.0.0.2'), await Peer.open()]
    await client.send(wrap(target.address, 'x'), relay.address)
    const back = { host: '127.0.0.1', port: (await target.next()).from.port }
    await stranger.send(Buffer.from('strange'), back)
    await neighbour.send(Buffer.from('near'), back)
    expect(await nextText(client)).toBe('near')
    await client.send(wrap(stranger.address, 'now'), relay.address)
    await stranger.next()
    await stranger.send(Buffer.from('invited'), back)
    expect(await nextText(client)).toBe('invited')
    expect(dropsOf(relay)).toEqual({ stranger: 1 })
  })

  it('S116 full-cone: anybody may answer, with his own address', async () => {
    const [relay, client, target] = [await openRelay({ nat: 'full-cone' }), await Peer.open(), await Peer.open()]
    const stranger = await Peer.open('127.0.0.2')
    await client.send(wrap(target.address, 'x'), relay.address)
    await stranger.send(Buffer.from('hello'), { host: '127.0.0.1', port: (await target.next()).from.port })
    expect((await client.next()).data).toEqual(Buffer.from(wrap(stranger.address, 'hello')))
  })

  it('S116 S124 full-cone is for the family that the client has sent to', async () => {
    const relay = await openRelay({ nat: 'full-cone' })
    const [client, six, four, echo] = [
      await Peer.open(),
      await Peer.open('::1'),
      await Peer.open(),
      await Peer.echo('::1'),
    ]
    await client.send(wrap(six.address, 'x'), relay.address)
    const { from } = await six.next()
    await four.send(Buffer.from('by IPv4'), { host: '127.0.0.1', port: from.port })
    await settle(client, relay, echo)
    expect(client.pending).toBe(0)
  })

  it('S121 an idle mapping ends, and the last of a family closes its socket', async () => {
    const relay = await openRelay({ idleTimeoutMs: 40 })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    const before = descriptors()
    await settle(client, relay, echo)
    expect(descriptors()).toBe(before + 1)
    expect(await settlesAt(descriptors, before)).toBe(before)
    expect(relay.stats().mappings).toBe(0)
    // And begins anew.
    await settle(client, relay, echo)
  })

  it('S121 at the cap the destination that was unused for longest makes room', async () => {
    const { asked, decide } = recorded(({ type, host }) => ({ type, host }))
    const relay = await openRelay({ decide, maxMappings: 2 })
    const [client, ...echoes] = [await Peer.open(), await Peer.echo(), await Peer.echo(), await Peer.echo()]
    const [a, b, c] = echoes
    for (const echo of [a, b, a, c, a, b]) await settle(client, relay, echo!)
    expect(asked).toEqual([a, b, c, b].map((echo) => `127.0.0.1:${echo!.port}`))
    expect(relay.stats().mappings).toBe(2)
  })

  it('S122 sockets of our own are no targets, and are registered while they are open', async () => {
    const own = new Set<string>()
    const key = (host: string, port: number): string => `${host === '0.0.0.0' ? '127.0.0.1' : host} ${port}`
    const registry = {
      add: (host: string, port: number) => own.add(key(host, port)),
      remove: (host: string, port: number) => own.delete(key(host, port)),
      has: (host: string, port: number) => own.has(key(host, port)),
    }
    const [relay, other] = [await openRelay({ registry }), await openRelay({ registry })]
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    await client.send(wrap({ type: 'ipv4', ...relay.address }, 'loop'), relay.address)
    await client.send(wrap({ type: 'ipv4', ...other.address }, 'latch'), relay.address)
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ denied: 2 })
    expect(other.peer).toBeUndefined()
    expect(own.size).toBe(3)
    relay.close()
    other.close()
    expect(own.size).toBe(0)
  })

  it('S98 S122 after close() nothing is sent or received, questions are aborted, and its signal tells', async () => {
    const { signals, decide } = recorded(({ type }) => (type === 'domain' ? new Promise(() => {}) : LOCAL))
    const before = descriptors()
    const relay = await openRelay({ decide })
    const [client, target] = [await Peer.open(), await Peer.open()]
    await client.send(wrap(name('never.test'), 'x'), relay.address)
    await client.send(wrap(target.address, 'x'), relay.address)
    const { from } = await target.next()
    // On its way already when it closes.
    await client.send(wrap(target.address, 'late'), relay.address)
    await target.send(Buffer.from('late'), { host: '127.0.0.1', port: from.port })
    relay.close()
    relay.close()
    expect([relay.signal.aborted, signals[0]?.aborted]).toEqual([true, true])
    await client.send(wrap(target.address, 'later'), relay.address)
    await client.send(Buffer.from('sentinel'), target.address)
    await target.send(Buffer.from('sentinel'), client.address)
    expect((await target.next()).data.toString()).toBe('sentinel')
    expect((await client.next()).data.toString()).toBe('sentinel')
    expect(await settlesAt(descriptors, before + 2)).toBe(before + 2)
    expect(relay.stats().mappings).toBe(0)
  })

  it('S98 a rule may close the relay that asks it', async () => {
    let close = (): void => {}
    const relay = await openRelay({
      decide: async () => {
        close()
        return LOCAL
      },
    })
    close = () => relay.close()
    const [client, target] = [await Peer.open(), await Peer.open()]
    await client.send(wrap(target.address, 'x'), relay.address)
    if (!relay.signal.aborted) await new Promise((resolve) => relay.signal.addEventListener('abort', resolve))
    await client.send(Buffer.from('sentinel'), target.address)
    expect((await target.next()).data.toString()).toBe('sentinel')
  })

  it('S122 a signal closes it, and one that has aborted opens nothing', async () => {
    const controller = new AbortController()
    const relay = await openRelay({ signal: controller.signal })
    controller.abort()
    expect(relay.signal.aborted).toBe(true)
    const before = descriptors()
    const reason = new Error('changed my mind')
    await expect(openRelay({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect(descriptors()).toBe(before)
  })

  it('S123 without an address of the client, the first valid sender on loopback is the client', async () => {
    const relay = await openRelay({ client: { address: undefined } })
    const [other, client, echo] = [await Peer.open('127.0.0.3'), await Peer.open('127.0.0.2'), await Peer.echo()]
    await other.send(Buffer.from('garbage'), relay.address)
    await settle(client, relay, echo)
    await other.send(wrap(echo.address, 'hijack'), relay.address)
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ malformed: 1, source: 1 })
    for (const host of ['0.0.0.0', '::', '192.0.2.1']) {
      const options = { bind: { host }, client: { address: undefined }, decide: anywhere }
      await expect(openUdpRelay(options)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    }
  })

  it('S99 S125 a range of ports is used to the last, then the promise rejects with what the system says', async () => {
    const first = (await openRelay()).address.port
    const range = await freeRange(first + 1, 3)
    const bind = { host: '127.0.0.1', portRange: range } as const
    const relays = [await openRelay({ bind }), await openRelay({ bind }), await openRelay({ bind })]
    const ports = relays.map(({ address }) => address.port).sort()
    expect(ports).toEqual([range[0], range[0] + 1, range[1]])
    const before = descriptors()
    await expect(openRelay({ bind })).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await expect(openRelay({ bind: { host: '127.0.0.1', port: first } })).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await expect(openRelay({ bind: { host: '192.0.2.1' } })).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' })
    expect(descriptors()).toBe(before)
    relays[1]!.close()
    expect((await openRelay({ bind })).address.port).toBe(relays[1]!.address.port)
  })

  it('S124 with a local address the other family is not reached', async () => {
    const relay = await openRelay({ localAddress: '127.0.0.9' })
    const [client, echo, six] = [await Peer.open(), await Peer.echo(), await Peer.open('::1')]
    await client.send(wrap(six.address, 'x'), relay.address)
    await settle(client, relay, echo)
    expect((await echo.next()).from.address).toBe('127.0.0.9')
    expect(dropsOf(relay)).toEqual({ system: 1 })
  })

  it('S121 a socket that cannot be had is told, and the next datagram tries again', async () => {
    const errors: unknown[] = []
    const relay = await openRelay({ localAddress: '192.0.2.1', onError: (error) => errors.push(error) })
    const [client, target] = [await Peer.open(), await Peer.open()]
    for (let round = 0; round < 2; round++) await client.send(wrap(target.address, 'x'), relay.address)
    await settlesAt(() => errors.length, 2)
    expect(errors).toMatchObject([{ code: 'EADDRNOTAVAIL' }, { code: 'EADDRNOTAVAIL' }])
    expect(dropsOf(relay)).toEqual({ system: 2 })
  })

  it('wrong options are refused before anything is opened', async () => {
    const good = { bind: { host: '127.0.0.1' }, client: { address: '127.0.0.1' }, decide: anywhere }
    const wrong: [object, (call: () => unknown) => void][] = [
      [{ bind: { host: 'localhost' } }, expectInvalidArgument],
      [{ bind: { host: '' } }, expectInvalidArgument],
      [{ bind: {} }, expectInvalidArgument],
      [{ bind: undefined }, expectInvalidArgument],
      [{ client: undefined }, expectInvalidArgument],
      [{ decide: undefined }, expectInvalidArgument],
      [{ decide: 'yes' }, expectInvalidArgument],
      [{ client: { address: 'example.com' } }, expectInvalidArgument],
      [{ client: { address: '127.0.0.1', port: 65_536 } }, expectOutOfRange],
      [{ bind: { host: '127.0.0.1', port: -1 } }, expectOutOfRange],
      [{ bind: { host: '127.0.0.1', portRange: [0, 10] } }, expectOutOfRange],
      [{ bind: { host: '127.0.0.1', portRange: [20, 10] } }, expectOutOfRange],
      [{ bind: { host: '127.0.0.1', port: 1, portRange: [10, 20] } }, expectInvalidArgument],
      [{ nat: 'open' }, expectInvalidArgument],
      [{ replyAddress: 'name' }, expectInvalidArgument],
      [{ maxMappings: 0 }, expectOutOfRange],
      [{ idleTimeoutMs: -1 }, expectOutOfRange],
      [{ idleTimeoutMs: Number.NaN }, expectOutOfRange],
      [{ idleTimeoutMs: 2 ** 31 }, expectOutOfRange],
      [{ signal: {} }, expectInvalidArgument],
      [{ localAddress: 'eth0' }, expectInvalidArgument],
      [{ relatchAfter: 1 }, expectInvalidArgument],
    ]
    for (const [change, expectRefusal] of wrong) {
      const error: unknown = await openUdpRelay({ ...good, ...change }).catch((reason: unknown) => reason)
      expectRefusal(() => {
        throw error
      })
    }
  })
})

/** First and last of some ports in a row that are free on 127.0.0.1. */
async function freeRange(from: number, count: number): Promise<[number, number]> {
  for (let first = from; first + count < 65_536; first += count) {
    const peers = await Promise.allSettled(
      Array.from({ length: count }, (_, index) => Peer.open('127.0.0.1', first + index)),
    )
    for (const peer of peers) if (peer.status === 'fulfilled') peer.value.close()
    if (peers.every(({ status }) => status === 'fulfilled')) return [first, first + count - 1]
  }
  throw new Error('no free ports')
}
