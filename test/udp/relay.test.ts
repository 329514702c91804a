import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Address } from '../../src/codec/index.js'
import { fragmentPayload, type UdpTarget } from '../../src/udp/index.js'
import { hex } from '../support/bytes.js'
import { deferred } from '../support/deferred.js'
import { dropsOf, nextText, openRelay, Peer, pattern, settle, unwrap, wrap } from './support.js'

const SIX = { bind: { host: '::1' }, client: { address: '::1' } } as const

function named(host: string, port: number): Address {
  return { type: 'domain', host, port }
}

describe('UdpRelay', () => {
  it.each([0, 1, 512, 1_472, 9_000, 60_000, 65_497])(
    'S109 S117 %i bytes to IPv4 and back, byte for byte, and so to a name',
    async (size) => {
      const [relay, client, echo] = [await openRelay(), await Peer.open(), await Peer.echo()]
      for (const to of [echo.address, named('target.test', echo.port)]) {
        const payload = pattern(Math.min(size, 65_507 - 7 - (to.type === 'domain' ? to.host.length : 3)))
        await client.send(wrap(to, payload), relay.address)
        const { fragment, address, payload: back } = unwrap((await client.next()).data)
        expect({ fragment, address }).toEqual({ fragment: 0, address: echo.address })
        expect(back.equals(payload)).toBe(true)
        expect((await echo.next()).data.equals(payload)).toBe(true)
      }
      expect(dropsOf(relay)).toEqual({})
    },
  )

  it.each([0, 1, 512, 1_472, 9_000, 60_000, 65_485])(
    'S109 S117 %i bytes to IPv6 and back, byte for byte, and so to a name',
    async (size) => {
      const [relay, client, echo] = [await openRelay(SIX), await Peer.open('::1'), await Peer.echo('::1')]
      for (const to of [echo.address, named('six.test', echo.port)]) {
        const payload = pattern(size)
        await client.send(wrap(to, payload), relay.address)
        const { address, payload: back } = unwrap((await client.next()).data)
        expect(address).toEqual(echo.address)
        expect(back.equals(payload)).toBe(true)
      }
      expect(dropsOf(relay)).toEqual({})
    },
  )

  it('S124 one association reaches both families, whichever the client speaks', async () => {
    const [four, six] = [await Peer.echo('127.0.0.1'), await Peer.echo('::1')]
    for (const options of [{}, SIX]) {
      const relay = await openRelay(options)
      const client = await Peer.open(relay.address.host)
      for (const echo of [four, six, four]) {
        await client.send(wrap(echo.address, 'x'), relay.address)
        expect(unwrap((await client.next()).data).address).toEqual(echo.address)
      }
    }
  })

  it('S103 S124 an IPv4 client of a dual-stack socket is known by its IPv4 address', async () => {
    const relay = await openRelay({ bind: { host: '::' } })
    const to = { host: '127.0.0.1', port: relay.address.port }
    const [client, echo, stranger] = [await Peer.open(), await Peer.echo(), await Peer.open('127.0.0.2')]
    await stranger.send(wrap(echo.address, 'hijack'), to)
    await client.send(wrap(echo.address, 'mine'), to)
    expect(await nextText(client)).toBe('mine')
    expect(dropsOf(relay)).toEqual({ source: 1 })
  })

  it('S99 an IPv4-mapped address to bind is an IPv4 socket', async () => {
    const relay = await openRelay({ bind: { host: '::ffff:127.0.0.1' }, client: { address: '::ffff:127.0.0.1' } })
    expect(relay.address.host).toBe('127.0.0.1')
    await settle(await Peer.open(), relay, await Peer.echo())
  })

  it('S115 the header of a reply is its real source, RSV and FRAG zero, also where a name was asked for', async () => {
    const [relay, client, target] = [await openRelay(), await Peer.open(), await Peer.open()]
    await client.send(wrap(named('Target.TEST', target.port), 'question'), relay.address)
    const { from } = await target.next()
    await target.send(Buffer.from('answer'), { host: '127.0.0.1', port: from.port })
    const port = target.port.toString(16).padStart(4, '0')
    expect(hex((await client.next()).data)).toBe(`000000017f000001${port}616e73776572`)
    // Another port of that address: its own port in the header.
    const other = await Peer.open()
    await other.send(Buffer.from('aside'), { host: '127.0.0.1', port: from.port })
    expect(unwrap((await client.next()).data).address).toEqual(other.address)
  })

  it('S115 with replyAddress request the header is what the client wrote last', async () => {
    const [relay, client] = [await openRelay({ replyAddress: 'request' }), await Peer.open()]
    const echo = await Peer.echo()
    const spellings = [named('Target.Test', echo.port), named('target.test.', echo.port), echo.address]
    for (const address of [...spellings, ...spellings]) {
      await client.send(wrap(address, 'x'), relay.address)
      expect(unwrap((await client.next()).data).address).toEqual(address)
    }
    const { from } = await echo.next()
    const other = await Peer.open()
    await other.send(Buffer.from('aside'), { host: '127.0.0.1', port: from.port })
    expect(unwrap((await client.next()).data).address).toEqual(other.address)
  })

  it('S111 names are resolved while the order to each destination is kept, and others do not wait', async () => {
    const answer = deferred<UdpTarget>()
    const asked: string[] = []
    const relay = await openRelay({
      decide: async ({ type, host }) => {
        asked.push(host)
        return type === 'domain' ? answer.promise : { type, host }
      },
    })
    const [client, slow, fast] = [await Peer.open(), await Peer.open(), await Peer.echo()]
    const sent = Array.from({ length: 20 }, (_, index) => `${index}`)
    for (const text of sent) await client.send(wrap(named('slow.test', slow.port), text), relay.address)
    await settle(client, relay, fast)
    expect(slow.pending).toBe(0)
    answer.resolve({ type: 'ipv4', host: '127.0.0.1' })
    for (const text of sent) expect((await slow.next()).data.toString()).toBe(text)
    await client.send(wrap(named('slow.test', slow.port), 'later'), relay.address)
    expect((await slow.next()).data.toString()).toBe('later')
    expect(asked).toEqual(['slow.test', '127.0.0.1'])
  })

  it('S111 a name without an address is dropped in silence, and the association lives', async () => {
    const errors: unknown[] = []
    const relay = await openRelay({ onError: (error) => errors.push(error) })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    await client.send(wrap(named('nowhere.test', 53), 'x'), relay.address)
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ failed: 1 })
    expect(errors).toHaveLength(1)
  })

  it('S119 a target where nobody listens does not end the association', async () => {
    const [relay, client, gone, echo] = [await openRelay(), await Peer.open(), await Peer.open(), await Peer.echo()]
    const { address } = gone
    gone.close()
    for (let round = 0; round < 5; round++) {
      await client.send(wrap(address, 'anybody?'), relay.address)
      await settle(client, relay, echo)
    }
    expect(relay.stats().datagramsUp).toBe(10)
  })

  it('S119 a client whose port is gone does not end it either', async () => {
    const [relay, echo] = [await openRelay(), await Peer.open()]
    const client = await Peer.open()
    const { port } = client
    await client.send(wrap(echo.address, 'x'), relay.address)
    const { from } = await echo.next()
    client.close()
    for (let round = 0; round < 5; round++) {
      await echo.send(Buffer.from('gone?'), { host: '127.0.0.1', port: from.port })
    }
    const again = await Peer.open('127.0.0.1', port)
    await again.send(wrap(echo.address, 'back'), relay.address)
    expect((await echo.next()).data.toString()).toBe('back')
  })

  it('S107 fragments are put together when it is asked for, and dropped in the middle of others', async () => {
    const [relay, client, echo] = [await openRelay({ reassemble: true }), await Peer.open(), await Peer.echo()]
    const payload = pattern(60_000)
    for (const { fragment, payload: piece } of fragmentPayload(payload, 1_000)) {
      await client.send(wrap(echo.address, piece, fragment), relay.address)
    }
    expect(unwrap((await client.next()).data).payload.equals(payload)).toBe(true)
    await client.send(wrap(echo.address, 'alone', 0x81), relay.address)
    expect(await nextText(client)).toBe('alone')
    expect(dropsOf(relay)).toEqual({})
    // Twice: a destination that was sent to before is known by its bytes.
    for (let round = 1; round <= 2; round++) {
      await client.send(wrap(echo.address, 'a', 1), relay.address)
      await settle(client, relay, echo)
      await client.send(wrap(echo.address, 'b', 0x82), relay.address)
      await settle(client, relay, echo)
      expect(dropsOf(relay)).toEqual({ fragment: 2 * round })
    }
    expect(relay.stats().datagramsUp).toBe(6)
  })

  it('S107 where to is what the first fragment says; what the others say does not matter', async () => {
    const [relay, client, echo] = [await openRelay({ reassemble: true }), await Peer.open(), await Peer.echo()]
    const zero: Address = { type: 'ipv4', host: '0.0.0.0', port: 0 }
    await client.send(wrap(zero, 'a', 1), relay.address)
    await client.send(wrap(echo.address, 'b', 0x82), relay.address)
    await client.send(wrap(echo.address, 'c', 1), relay.address)
    await client.send(wrap(zero, 'd', 0x82), relay.address)
    expect(await nextText(client)).toBe('cd')
    expect(dropsOf(relay)).toEqual({ destination: 1, fragment: 1 })
  })

  it('S104 S107 a fragment that begins nothing takes no port, and a first one does', async () => {
    const relay = await openRelay({ reassemble: true })
    const [other, client, echo] = [await Peer.open(), await Peer.open(), await Peer.echo()]
    await other.send(wrap(echo.address, 'x', 2), relay.address)
    await other.send(wrap(echo.address, 'x', 0x80), relay.address)
    await client.send(wrap(echo.address, 'a', 1), relay.address)
    await client.send(wrap(echo.address, 'b', 0x82), relay.address)
    expect(await nextText(client)).toBe('ab')
    expect(relay.peer?.port).toBe(client.port)
    expect(dropsOf(relay)).toEqual({ fragment: 2 })
  })

  it('S104 S107 a port that takes over does not go on with the fragments of the one before', async () => {
    const relay = await openRelay({ reassemble: true, relatchAfterMs: 1 })
    const [client, other, echo] = [await Peer.open(), await Peer.open(), await Peer.echo()]
    await settle(client, relay, echo)
    await client.send(wrap(echo.address, 'a', 1), relay.address)
    await pause(5)
    await other.send(wrap(echo.address, 'b', 0x82), relay.address)
    await pause(5)
    await settle(other, relay, echo)
    await other.send(wrap(echo.address, 'b', 0x82), relay.address)
    await settle(other, relay, echo)
    expect(dropsOf(relay)).toEqual({ fragment: 3 })
  })

  it('S122 counts datagrams and bytes of payload, both ways', async () => {
    const [relay, client, echo] = [await openRelay(), await Peer.open(), await Peer.echo()]
    for (const text of ['', 'four', '0123456789']) await settle(client, relay, echo, text)
    expect(relay.stats()).toMatchObject({ datagramsUp: 3, bytesUp: 14, datagramsDown: 3, bytesDown: 14, mappings: 1 })
  })
})
