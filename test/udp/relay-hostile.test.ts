import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Address } from '../../src/codec/index.js'
import { bytes, concat } from '../support/bytes.js'
import { dropsOf, nextText, openRelay, Peer, pattern, settle, unwrap, wrap } from './support.js'

/** A datagram whose header says a name, as the bytes stand. */
function nameDatagram(name: Uint8Array, port: number): Uint8Array {
  return concat(Uint8Array.of(0, 0, 0, 3, name.length), name, Uint8Array.of(port >> 8, port & 0xff), Buffer.from('x'))
}

describe('UdpRelay and datagrams of others', () => {
  it('S103 nothing of another address is relayed, before and after the client has sent', async () => {
    const [relay, client, echo] = [await openRelay(), await Peer.open(), await Peer.echo()]
    const hijackers = [await Peer.open('127.0.0.2'), await Peer.open('127.0.0.2', client.port)]
    for (const hijacker of hijackers) await hijacker.send(wrap(echo.address, 'hijack'), relay.address)
    await settle(client, relay, echo)
    for (const hijacker of hijackers) await hijacker.send(wrap(echo.address, 'hijack'), relay.address)
    await settle(client, relay, echo)
    expect([echo.pending, client.pending, ...hijackers.map(({ pending }) => pending)]).toEqual([2, 0, 0, 0])
    expect(dropsOf(relay)).toEqual({ source: 4 })
  })

  it('S104 nothing of another port of the client is relayed once it has sent something valid', async () => {
    const [relay, client, echo, other] = [await openRelay(), await Peer.open(), await Peer.echo(), await Peer.open()]
    await settle(client, relay, echo)
    await other.send(wrap(echo.address, 'hijack'), relay.address)
    await settle(client, relay, echo)
    expect([echo.pending, other.pending]).toEqual([2, 0])
    expect(dropsOf(relay)).toEqual({ source: 1 })
    expect(relay.peer).toEqual({ host: '127.0.0.1', port: client.port })
  })

  it('S104 garbage from another port takes no port', async () => {
    const [relay, other, client, echo] = [await openRelay(), await Peer.open(), await Peer.open(), await Peer.echo()]
    const garbage = [
      bytes(''),
      bytes('000000'),
      bytes('00000005'),
      bytes('000000017f0000010000'),
      wrap(echo.address, 'fragment', 1),
      nameDatagram(bytes(''), 53),
      nameDatagram(Buffer.from('127.1'), 53),
    ]
    for (const data of garbage) await other.send(data, relay.address)
    await settle(client, relay, echo)
    expect(relay.peer?.port).toBe(client.port)
    expect(dropsOf(relay)).toEqual({ malformed: 3, destination: 3, fragment: 1 })
  })

  it('S104 after the silence that was asked for, another port takes over and gets the answers', async () => {
    const relay = await openRelay({ relatchAfterMs: 20 })
    const [client, other, target] = [await Peer.open(), await Peer.open(), await Peer.open()]
    await client.send(wrap(target.address, 'first'), relay.address)
    const { from } = await target.next()
    // What is dropped does not break the silence.
    while (relay.peer?.port !== other.port) {
      await other.send(wrap(target.address, 'second'), relay.address)
      await pause(5)
    }
    expect((await target.next()).data.toString()).toBe('second')
    await target.send(Buffer.from('answer'), { host: '127.0.0.1', port: from.port })
    expect(await nextText(other)).toBe('answer')
    expect(client.pending).toBe(0)
  })

  it('S105 the port that the client named is the only one', async () => {
    const [client, other, echo] = [await Peer.open(), await Peer.open(), await Peer.echo()]
    const relay = await openRelay({ client: { address: '127.0.0.1', port: client.port } })
    await other.send(wrap(echo.address, 'hijack'), relay.address)
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ source: 1 })
  })

  it('S106 fragments are dropped, and the next datagram passes', async () => {
    const [relay, client, echo] = [await openRelay(), await Peer.open(), await Peer.echo()]
    for (const fragment of [0x01, 0x81, 0x80, 0xff, 0x02, 0x7f]) {
      await client.send(wrap(echo.address, 'fragment', fragment), relay.address)
    }
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ fragment: 6 })
  })

  it('S108 the reserved bytes are ignored', async () => {
    const [relay, client, echo] = [await openRelay(), await Peer.open(), await Peer.echo()]
    for (const [first, second] of [
      [0, 1],
      [0xff, 0],
      [0xff, 0xff],
    ] as const) {
      const data = wrap(echo.address, 'x')
      data.set([first, second])
      await client.send(data, relay.address)
      expect((await client.next()).data.subarray(0, 3)).toEqual(Buffer.alloc(3))
    }
  })

  it('S110 a header that ends too early is dropped at every length, and the association lives', async () => {
    const [relay, client, echo] = [await openRelay(), await Peer.open(), await Peer.echo()]
    const addresses: Address[] = [
      echo.address,
      { type: 'ipv6', host: '::1', port: echo.port },
      { type: 'domain', host: 'target.test', port: echo.port },
    ]
    let sent = 0
    // Also when the header is known by its bytes.
    for (let round = 0; round < 2; round++) {
      for (const address of addresses) {
        const header = wrap(address)
        for (let end = 0; end < header.length; end++) {
          await client.send(header.subarray(0, end), relay.address)
          sent++
        }
        await settle(client, relay, echo)
      }
    }
    for (const atyp of [0x00, 0x02, 0x05, 0xff]) {
      await client.send(concat(Uint8Array.of(0, 0, 0, atyp), new Uint8Array(30)), relay.address)
      sent++
    }
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ malformed: sent })
  })

  it('S112 S113 port 0, an empty host and names that no rule could judge are dropped', async () => {
    const asked: string[] = []
    const decide = async ({ host }: { host: string }) => {
      asked.push(host)
      return { type: 'ipv4', host: '127.0.0.1' } as const
    }
    const [relay, client, echo] = [await openRelay({ decide }), await Peer.open(), await Peer.echo()]
    const bad = [
      wrap({ ...echo.address, port: 0 }, 'x'),
      wrap({ type: 'ipv6', host: '::1', port: 0 }, 'x'),
      wrap({ type: 'domain', host: 'target.test', port: 0 }, 'x'),
      ...[
        '',
        '127.1',
        '0x7f000001',
        '2130706433',
        '0',
        'localhost\0.evil.test',
        'a..b',
        'x'.repeat(64),
        ' ',
        'é.test',
      ].map((name) => nameDatagram(Buffer.from(name), echo.port)),
    ]
    for (const data of bad) await client.send(data, relay.address)
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ destination: bad.length })
    expect(asked).toEqual(['127.0.0.1'])
    expect(echo.pending).toBe(1)
  })

  it('S114 broadcast, multicast and unspecified addresses are refused, also as the answer of a resolver', async () => {
    const refused = [
      '255.255.255.255',
      '224.0.0.1',
      '239.255.255.250',
      '0.0.0.0',
      '0.1.2.3',
      '::',
      'ff02::1',
      '::ffff:224.0.0.1',
    ]
    let answer = ''
    const asked: string[] = []
    const relay = await openRelay({
      decide: async ({ type, host }) => {
        asked.push(host)
        return type === 'domain' ? { type: 'ipv4', host: answer } : { type, host }
      },
    })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    for (const [index, host] of refused.entries()) {
      const type = host.includes(':') ? 'ipv6' : 'ipv4'
      await client.send(wrap({ type, host, port: echo.port }, 'x'), relay.address)
      await settle(client, relay, echo)
      answer = host
      await client.send(wrap({ type: 'domain', host: `n${index}.test`, port: echo.port }, 'x'), relay.address)
      await settle(client, relay, echo)
    }
    expect(dropsOf(relay)).toEqual({ denied: 2 * refused.length })
    expect(asked.filter((host) => refused.includes(host))).toEqual([])
    expect(echo.pending).toBe(2 * refused.length)
  })

  it('S114 what the system refuses is counted, and ends nothing', async () => {
    const relay = await openRelay({ localAddress: '127.0.0.1' })
    const [client, echo] = [await Peer.open(), await Peer.echo()]
    // From loopback there is no way to another network.
    await client.send(wrap({ type: 'ipv4', host: '192.0.2.1', port: 9 }, 'x'), relay.address)
    await settle(client, relay, echo)
    expect(dropsOf(relay)).toEqual({ system: 1 })
  })

  it('S117 what does not fit with its header is dropped, never cut, and the next one passes', async () => {
    const [relay, client, target] = [await openRelay(), await Peer.open(), await Peer.open()]
    await client.send(wrap(target.address, 'x'), relay.address)
    const { from } = await target.next()
    const back = { host: '127.0.0.1', port: from.port }
    for (const size of [65_498, 65_507]) await target.send(pattern(size), back)
    await target.send(pattern(65_497), back)
    expect(unwrap((await client.next()).data).payload.equals(pattern(65_497))).toBe(true)
    expect(dropsOf(relay)).toEqual({ oversize: 2 })
  })

  it('S117 nor is what IPv6 carries and IPv4 does not', async () => {
    const relay = await openRelay({ bind: { host: '::1' }, client: { address: '::1' } })
    const [client, four, six] = [await Peer.open('::1'), await Peer.open(), await Peer.open('::1')]
    for (let round = 0; round < 2; round++) {
      await client.send(wrap(four.address, pattern(65_508)), relay.address)
      await client.send(wrap(four.address, pattern(65_507)), relay.address)
      expect((await four.next()).data.length).toBe(65_507)
    }
    await client.send(wrap(six.address, pattern(65_505)), relay.address)
    const { data, from } = await six.next()
    expect(data.length).toBe(65_505)
    await six.send(pattern(65_486), { host: '::1', port: from.port })
    await six.send(pattern(65_485), { host: '::1', port: from.port })
    expect(unwrap((await client.next()).data).payload.length).toBe(65_485)
    expect(dropsOf(relay)).toEqual({ oversize: 3 })
  })
})
