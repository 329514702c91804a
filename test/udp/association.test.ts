import { once } from 'node:events'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { Address } from '../../src/codec/index.js'
import {
  isSocksError,
  openUdpAssociation,
  type UdpAssociation,
  type UdpAssociationOptions,
  type UdpMessage,
  type UdpTarget,
} from '../../src/udp/index.js'
import { bytes, thrownBy } from '../support/bytes.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { anywhere, cleanup, openRelay, Peer, pattern, unwrap, wrap } from './support.js'

/** An association with a relay that the test plays, and the proxy's end of the control connection. */
async function associate(options: Partial<UdpAssociationOptions> = {}, host = '127.0.0.1') {
  const relay = await Peer.open(host)
  const [control, proxy] = duplexPair()
  const opened = openUdpAssociation({ control, relayHost: host, relayPort: relay.port, ...options })
  const association = await opened
  cleanup(() => association.close())
  const near = { host, port: association.address().port }
  return { association, relay, control, proxy, near }
}

/** An association through a real relay. */
async function throughRelay(host = '127.0.0.1'): Promise<UdpAssociation> {
  const relay = await openRelay({ bind: { host }, client: { address: host } })
  const [control] = duplexPair()
  const association = await openUdpAssociation({ control, relayHost: host, relayPort: relay.address.port })
  cleanup(() => association.close())
  return association
}

async function nextMessage(association: UdpAssociation): Promise<UdpMessage> {
  const [data, from] = await once(association, 'message')
  return { data, ...from }
}

/** Everything that an association tells about its end. */
function watchEnd(association: UdpAssociation): unknown[] {
  const told: unknown[] = []
  association.on('error', (error) => told.push(error.code))
  association.on('close', () => told.push('close'))
  return told
}

describe('UdpAssociation', () => {
  it.each([0, 1, 512, 1_472, 9_000, 60_000, 65_485])('%i bytes there and back, byte for byte', async (size) => {
    const payload = pattern(size)
    for (const host of ['127.0.0.1', '::1']) {
      const association = await throughRelay(host)
      for (const [name, echo] of [
        ['127.0.0.1', await Peer.echo('127.0.0.1')],
        ['::1', await Peer.echo('::1')],
        ['target.test', await Peer.echo('127.0.0.1')],
        ['six.test', await Peer.echo('::1')],
      ] as const) {
        association.send(payload, echo.port, name)
        const { data, address, port, family, size: told } = await nextMessage(association)
        expect(data.equals(payload)).toBe(true)
        expect({ address, port, told }).toEqual({ address: echo.host, port: echo.port, told: size })
        expect(family).toBe(echo.host === '::1' ? 'IPv6' : 'IPv4')
      }
      association.close()
    }
  })

  it('C118 a payload has 65,507 bytes less the header of its destination, and not one more', async () => {
    const { association, relay } = await associate()
    const longest = `${'x'.repeat(63)}.${'y'.repeat(63)}.${'z'.repeat(63)}.${'w'.repeat(61)}`
    const limits = {
      '192.0.2.1': 65_497,
      '2001:db8::1': 65_485,
      '::ffff:192.0.2.1': 65_497,
      'a.test': 65_494,
      [longest]: 65_247,
    }
    for (const [host, limit] of Object.entries(limits)) {
      expect(association.maxPayload(host), host).toBe(limit)
      association.send(pattern(limit), 9, host)
      const { data } = await relay.next()
      expect(data.length).toBe(65_507)
      expect(unwrap(data).payload.equals(pattern(limit))).toBe(true)
      expect(thrownBy(() => association.send(pattern(limit + 1), 9, host))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    }
    expect(association.stats()).toMatchObject({ datagramsSent: 5, datagramsReceived: 0 })
  })

  it('a datagram says where to, canonical; text is UTF-8; any view of bytes will do', async () => {
    const { association, relay } = await associate()
    const all = Uint8Array.of(1, 0, 0xc3, 0xa9, 2)
    for (const [data, host, expected] of [
      ['é', 'Example.COM.', { type: 'domain', host: 'example.com' }],
      [all.subarray(2, 4), '[::1]', { type: 'ipv6', host: '::1' }],
      [new DataView(all.buffer, 2, 2), '::ffff:192.0.2.1', { type: 'ipv4', host: '192.0.2.1' }],
    ] as const) {
      association.send(data, 53, host)
      const { fragment, address, payload } = unwrap((await relay.next()).data)
      expect({ fragment, address, text: payload.toString() }).toEqual({
        fragment: 0,
        address: { ...expected, port: 53 },
        text: 'é',
      })
    }
  })

  it('the callback is called later, once, with the bytes of the payload', async () => {
    const { association } = await associate()
    const told: unknown[] = []
    const all = deferred()
    association.send('four', 53, '192.0.2.1', (...args) => told.push(args))
    association.send('sixsix', 53, '192.0.2.1', { fragment: 4 }, (...args) => told.push(args))
    association.send('', 53, '192.0.2.1', undefined, (...args) => {
      told.push(args)
      all.resolve()
    })
    expect(told).toEqual([])
    await all.promise
    expect(told).toEqual([
      [null, 4],
      [null, 6],
      [null, 0],
    ])
  })

  it('wrong arguments throw with codes of Node, and nothing is sent', async () => {
    const { association, relay } = await associate()
    const wrong: [unknown[], string][] = [
      [[undefined, 53, '192.0.2.1'], 'ERR_INVALID_ARG_VALUE'],
      [[53, 53, '192.0.2.1'], 'ERR_INVALID_ARG_VALUE'],
      [[['a'], 53, '192.0.2.1'], 'ERR_INVALID_ARG_VALUE'],
      [['x', 0, '192.0.2.1'], 'ERR_SOCKET_BAD_PORT'],
      [['x', 65_536, '192.0.2.1'], 'ERR_SOCKET_BAD_PORT'],
      [['x', '53', '192.0.2.1'], 'ERR_SOCKET_BAD_PORT'],
      [['x', Number.NaN, '192.0.2.1'], 'ERR_SOCKET_BAD_PORT'],
      [['x', 53], 'ERR_INVALID_ARG_VALUE'],
      [['x', 53, ''], 'ERR_SOCKS_INVALID_HOST'],
      [['x', 53, '127.1'], 'ERR_SOCKS_INVALID_HOST'],
      [['x', 53, 'localhost\0.evil.test'], 'ERR_SOCKS_INVALID_HOST'],
      [['x', 53, '192.0.2.1', 'callback'], 'ERR_INVALID_ARG_VALUE'],
      [['x', 53, '192.0.2.1', {}, 'callback'], 'ERR_INVALID_ARG_VALUE'],
      [['x', 53, '192.0.2.1', { fragments: 1 }], 'ERR_INVALID_ARG_VALUE'],
      [['x', 53, '192.0.2.1', { fragment: 0 }], 'ERR_OUT_OF_RANGE'],
      [['x', 53, '192.0.2.1', { fragment: '5' }], 'ERR_OUT_OF_RANGE'],
      [[pattern(1_280), 53, '192.0.2.1', { fragment: 10 }], 'ERR_OUT_OF_RANGE'],
      [[pattern(65_508), 53, '192.0.2.1', { fragment: 1_000 }], 'ERR_OUT_OF_RANGE'],
    ]
    for (const [args, code] of wrong) {
      expect(
        thrownBy(() => Reflect.apply(association.send, association, args)),
        JSON.stringify(args),
      ).toMatchObject({ code })
    }
    association.send('sentinel', 53, '192.0.2.1')
    expect(unwrap((await relay.next()).data).payload.toString()).toBe('sentinel')
  })

  it('takes datagrams from the address and port of the relay alone', async () => {
    const { association, relay, near } = await associate()
    const message = nextMessage(association)
    for (const stranger of [await Peer.open(), await Peer.open('127.0.0.2', relay.port)]) {
      await stranger.send(wrap(stranger.address, 'hijack'), near)
    }
    await relay.send(wrap({ type: 'ipv4', host: '192.0.2.1', port: 53 }, 'mine'), near)
    expect((await message).data.toString()).toBe('mine')
    expect(association.stats().datagramsReceived).toBe(1)
  })

  it('what makes no sense is dropped and counted, and the next datagram passes', async () => {
    const { association, relay, near } = await associate()
    const from: Address = { type: 'ipv4', host: '192.0.2.1', port: 53 }
    const header = wrap(from)
    for (let end = 0; end < header.length; end++) await relay.send(header.subarray(0, end), near)
    await relay.send(bytes('00000009 7f000001 0035'), near)
    await relay.send(bytes('00000003 00 0035'), near)
    await relay.send(Buffer.from('\0\0\0\x03\x06a\0.com\0\x35', 'latin1'), near)
    for (const fragment of [1, 0x81, 0xff]) await relay.send(wrap(from, 'x', fragment), near)
    const message = nextMessage(association)
    await relay.send(wrap({ type: 'domain', host: 'Echo.TEST', port: 0 }, 'good'), near)
    expect(await message).toMatchObject({ address: 'echo.test', family: 'domain', port: 0, size: 4 })
    expect(association.stats().dropped).toEqual({ malformed: 13, fragment: 3, overflow: 0, unsent: 0, system: 0 })
  })

  it('sends fragments when it is told to, and puts together what comes in fragments', async () => {
    const { association, relay, near } = await associate({ reassemble: true })
    association.send('abcdefg', 53, 'a.test', { fragment: 3 })
    const sent = [await relay.next(), await relay.next(), await relay.next()].map(({ data }) => unwrap(data))
    expect(sent.map(({ fragment, payload }) => [fragment, payload.toString()])).toEqual([
      [1, 'abc'],
      [2, 'def'],
      [0x83, 'g'],
    ])
    const message = nextMessage(association)
    for (const { fragment, payload } of sent) {
      await relay.send(wrap({ type: 'ipv4', host: '192.0.2.1', port: 53 }, payload, fragment), near)
    }
    expect((await message).data.toString()).toBe('abcdefg')
    expect(Buffer.isBuffer((await message).data)).toBe(true)
    // Larger than any single datagram to the relay.
    association.send(pattern(65_507), 53, '192.0.2.1', { fragment: 60_000 })
    expect([(await relay.next()).data.length, (await relay.next()).data.length]).toEqual([60_010, 5_517])
    association.send('fits', 53, '192.0.2.1', { fragment: 1e9 })
    expect(unwrap((await relay.next()).data).fragment).toBe(0)
  })

  it('close() ends it at once, without an error, and the control connection with it', async () => {
    const before = descriptors()
    const { association, relay, near, control } = await associate()
    const told = watchEnd(association)
    association.on('message', () => told.push('message'))
    await relay.send(wrap({ type: 'ipv4', host: '192.0.2.1', port: 53 }, 'late'), near)
    association.close()
    association.close()
    expect([association.closed, control.destroyed]).toEqual([true, true])
    expect(told).toEqual([])
    await once(association, 'close')
    await association[Symbol.asyncDispose]()
    expect(thrownBy(() => association.send('x', 53, '192.0.2.1'))).toMatchObject({
      code: 'ERR_SOCKET_DGRAM_NOT_RUNNING',
    })
    expect(await settlesAt(descriptors, before + 1)).toBe(before + 1)
    expect(told).toEqual(['close'])
    expect(association.address().port).toBe(near.port)
  })

  it.each<[how: string, end: (proxy: Duplex, control: Duplex) => void]>([
    ['the FIN', (proxy) => proxy.end()],
    ['the FIN after some bytes', (proxy) => proxy.end('x'.repeat(100_000))],
    ['a reset', (_proxy, control) => control.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))],
    ['a destroy', (_proxy, control) => control.destroy()],
  ])('%s of the control connection ends it, with one error', async (_how, end) => {
    const { association, proxy, control } = await associate()
    const told = watchEnd(association)
    end(proxy, control)
    await new Promise((resolve) => association.once('close', () => resolve(undefined)))
    expect(told).toEqual(['ERR_SOCKS_CONNECTION_CLOSED', 'close'])
    expect(control.destroyed).toBe(true)
    const error = thrownBy(() => association.send('x', 53, '192.0.2.1'))
    expect(error).toMatchObject({
      code: 'ERR_SOCKET_DGRAM_NOT_RUNNING',
      cause: { code: 'ERR_SOCKS_CONNECTION_CLOSED' },
    })
    association.close()
  })

  it('an end that nobody listens to throws nothing', async () => {
    const { association, proxy } = await associate()
    proxy.end()
    // Not events.once, which listens for errors.
    await new Promise((resolve) => association.on('close', () => resolve(undefined)))
    expect(association.closed).toBe(true)
  })

  it('a relay that is not there ends nothing: that is what the control connection is for', async () => {
    const { association, relay, near } = await associate()
    const { port } = relay
    relay.close()
    for (let round = 0; round < 3; round++) {
      await new Promise((resolve) => association.send('x', 53, '192.0.2.1', resolve))
    }
    const again = await Peer.open('127.0.0.1', port)
    // The first after an ICMP error may be lost to it.
    for (let round = 0; round < 2; round++) association.send('back', 53, '192.0.2.1')
    await again.next()
    const message = nextMessage(association)
    await again.send(wrap({ type: 'ipv4', host: '192.0.2.1', port: 53 }, 'here'), near)
    expect((await message).data.toString()).toBe('here')
  })

  it('a signal closes it as close() does; one that has aborted opens nothing', async () => {
    const controller = new AbortController()
    const { association } = await associate({ signal: controller.signal })
    const told = watchEnd(association)
    controller.abort()
    expect(association.closed).toBe(true)
    await once(association, 'close')
    expect(told).toEqual(['close'])
    const reason = new Error('changed my mind')
    const [control] = duplexPair()
    const opened = openUdpAssociation({
      control,
      relayHost: '127.0.0.1',
      relayPort: 9,
      signal: AbortSignal.abort(reason),
    })
    await expect(opened).rejects.toBe(reason)
    expect(control.destroyed).toBe(true)
  })

  it('a signal that aborts while it is being opened closes what there is', async () => {
    const before = descriptors()
    const controller = new AbortController()
    const [control] = duplexPair()
    const opened = openUdpAssociation({ control, relayHost: '127.0.0.1', relayPort: 9, signal: controller.signal })
    const reason = new Error('changed my mind')
    controller.abort(reason)
    await expect(opened).rejects.toBe(reason)
    expect(control.destroyed).toBe(true)
    expect(await settlesAt(descriptors, before)).toBe(before)
  })

  it('a control connection that is over, before or meanwhile, opens nothing', async () => {
    const before = descriptors()
    const destroyed = duplexPair()[0]
    destroyed.destroy()
    const [ended, proxy] = duplexPair()
    proxy.end()
    await once(ended.resume(), 'end')
    for (const control of [destroyed, ended]) {
      const opened = openUdpAssociation({ control, relayHost: '127.0.0.1', relayPort: 9 })
      await expect(opened).rejects.toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
    }
    const [control] = duplexPair()
    const opened = openUdpAssociation({ control, relayHost: '127.0.0.1', relayPort: 9 })
    control.destroy()
    control.emit('close')
    await expect(opened).rejects.toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
    expect(await settlesAt(descriptors, before)).toBe(before)
  })

  it('what the system refuses at the start rejects, and leaves nothing open', async () => {
    const before = descriptors()
    for (const options of [{ localAddress: '192.0.2.1' }, { localAddress: '127.0.0.1', relayHost: '192.0.2.1' }]) {
      const [control] = duplexPair()
      const opened = openUdpAssociation({ control, relayHost: '127.0.0.1', relayPort: 9, ...options })
      const error: unknown = await opened.catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: expect.stringMatching(/^E(?!RR_)/), syscall: expect.any(String) })
      expect(control.destroyed).toBe(true)
    }
    expect(await settlesAt(descriptors, before)).toBe(before)
  })

  it('wrong options are refused, and the control connection is left alone', async () => {
    const [control] = duplexPair()
    const good = { control, relayHost: '127.0.0.1', relayPort: 9 }
    for (const [change, code] of [
      [{ control: {} }, 'ERR_INVALID_ARG_VALUE'],
      [{ control: undefined }, 'ERR_INVALID_ARG_VALUE'],
      [{ relayHost: 'localhost' }, 'ERR_INVALID_ARG_VALUE'],
      [{ relayHost: undefined }, 'ERR_INVALID_ARG_VALUE'],
      [{ relayPort: 0 }, 'ERR_OUT_OF_RANGE'],
      [{ relayPort: undefined }, 'ERR_OUT_OF_RANGE'],
      [{ localAddress: '::1' }, 'ERR_INVALID_ARG_VALUE'],
      [{ maxQueued: 0 }, 'ERR_OUT_OF_RANGE'],
      [{ relayAddress: '127.0.0.1' }, 'ERR_INVALID_ARG_VALUE'],
    ] as const) {
      // Whatever a caller in JavaScript may pass.
      const opened = openUdpAssociation({ ...good, ...change } as UdpAssociationOptions)
      await expect(opened).rejects.toMatchObject({ code })
    }
    expect(control.destroyed).toBe(false)
  })
})

describe('a loop over a UdpAssociation', () => {
  const from: Address = { type: 'ipv4', host: '192.0.2.1', port: 53 }

  it('gets the datagrams in order, with their senders, and ends with close()', async () => {
    const { association, relay, near } = await associate()
    const loop = (async () => {
      const got: string[] = []
      for await (const { data, address, port } of association) {
        got.push(`${data} ${address} ${port}`)
        if (got.length === 3) association.close()
      }
      return got
    })()
    for (const text of ['a', 'b', 'c']) await relay.send(wrap(from, text), near)
    expect(await loop).toEqual(['a 192.0.2.1 53', 'b 192.0.2.1 53', 'c 192.0.2.1 53'])
  })

  it('a slow reader loses the oldest, which are counted; another one loses nothing', async () => {
    const { association, relay, near } = await associate({ maxQueued: 2 })
    const [slow, quick] = [association[Symbol.asyncIterator](), association[Symbol.asyncIterator]()]
    for (const text of ['a', 'b', 'c', 'd']) {
      const next = quick.next()
      await relay.send(wrap(from, text), near)
      expect((await next).value?.data.toString()).toBe(text)
    }
    expect(association.stats().dropped.overflow).toBe(2)
    association.close()
    const rest: string[] = []
    for await (const { data } of slow) rest.push(data.toString())
    expect(rest).toEqual(['c', 'd'])
    expect(await quick.next()).toEqual({ value: undefined, done: true })
  })

  it('throws what ended the association, once and after what had come; later loops throw it, too', async () => {
    const { association, relay, near, proxy } = await associate()
    const loop = association[Symbol.asyncIterator]()
    const message = nextMessage(association)
    await relay.send(wrap(from, 'last'), near)
    await message
    proxy.end()
    await new Promise((resolve) => association.on('close', () => resolve(undefined)))
    expect((await loop.next()).value?.data.toString()).toBe('last')
    await expect(loop.next()).rejects.toSatisfy(isSocksError)
    expect(await loop.next()).toEqual({ value: undefined, done: true })
    await expect(association[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'ERR_SOCKS_CONNECTION_CLOSED',
    })
  })

  it('several that wait are served in order, and all are told of the end', async () => {
    const { association, relay, near } = await associate()
    const loop = association[Symbol.asyncIterator]()
    const waiting = [loop.next(), loop.next(), loop.next()]
    await relay.send(wrap(from, 'a'), near)
    expect((await waiting[0])?.value?.data.toString()).toBe('a')
    association.close()
    expect(await Promise.all(waiting.slice(1))).toEqual(Array(2).fill({ value: undefined, done: true }))
  })

  it('leaving it closes nothing, and it keeps nothing', async () => {
    const { association, relay, near } = await associate({ maxQueued: 1 })
    const loop = (async () => {
      for await (const _ of association) break
    })()
    await relay.send(wrap(from, 'a'), near)
    await loop
    for (const text of ['b', 'c', 'd']) {
      const message = nextMessage(association)
      await relay.send(wrap(from, text), near)
      expect((await message).data.toString()).toBe(text)
    }
    expect(association.stats().dropped.overflow).toBe(0)
  })
})

describe('a UdpAssociation that looks names up', () => {
  it('sends the address in place of the name, in order, and addresses without asking', async () => {
    const answer = deferred<UdpTarget>()
    const asked: string[] = []
    const { association, relay } = await associate({
      resolve: ({ host }) => {
        asked.push(host)
        return answer.promise
      },
    })
    const told: unknown[] = []
    for (const text of ['a', 'b']) association.send(text, 53, 'name.test', (...args) => told.push(args))
    association.send('first', 53, '192.0.2.9')
    expect(unwrap((await relay.next()).data).address.host).toBe('192.0.2.9')
    expect(told).toEqual([])
    answer.resolve({ type: 'ipv6', host: '2001:db8::1' })
    for (const text of ['a', 'b']) {
      const { address, payload } = unwrap((await relay.next()).data)
      expect([address, payload.toString()]).toEqual([{ type: 'ipv6', host: '2001:db8::1', port: 53 }, text])
    }
    expect(told).toEqual([
      [null, 1],
      [null, 1],
    ])
    expect(asked).toEqual(['name.test'])
    expect(association.maxPayload('name.test')).toBe(65_485)
  })

  it('tells the callback when there is no address, or the end comes first', async () => {
    const never = new Promise<undefined>(() => {})
    const { association } = await associate({ resolve: ({ host }) => (host === 'none.test' ? undefined : never) })
    const sendTo = (host: string) =>
      new Promise((resolve) => association.send('x', 53, host, (error, size) => resolve([codeOf(error), size])))
    expect(await sendTo('none.test')).toEqual(['ERR_SOCKS_HOST_UNREACHABLE', 0])
    const waiting = sendTo('never.test')
    for (let index = 0; index < 63; index++) association.send('x', 53, 'never.test')
    expect(await sendTo('never.test')).toEqual(['ERR_SOCKS_LIMIT', 0])
    association.close()
    expect(await waiting).toEqual(['ERR_SOCKET_DGRAM_NOT_RUNNING', 0])
    expect(association.stats().dropped.unsent).toBe(1 + 1 + 64)
  })

  it('a lookup that fails is the cause of the error', async () => {
    const { association } = await associate({ resolve: anywhere })
    const error = await new Promise((resolve) => association.send('x', 53, 'nowhere.test', resolve))
    expect(error).toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE', cause: new Error('ENOTFOUND') })
  })
})

function codeOf(error: unknown): unknown {
  return error instanceof Error ? Reflect.get(error, 'code') : error
}
