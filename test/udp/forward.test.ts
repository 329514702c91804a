import { EventEmitter } from 'node:events'
import { duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import {
  type AssociationLike,
  createUdpForward,
  openUdpAssociation,
  type UdpForward,
  type UdpForwardOptions,
} from '../../src/udp/index.js'
import { thrownBy } from '../support/bytes.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { cleanup, openRelay, Peer, pattern } from './support.js'

/** A forward that listens on loopback until the test is over. */
async function startForward(
  options: UdpForwardOptions,
): Promise<{ forward: UdpForward; at: { host: string; port: number } }> {
  const forward = createUdpForward(options)
  cleanup(() => forward.close())
  return { forward, at: await forward.listen() }
}

/** Opens associations through a real relay, and writes down how many. */
function associations() {
  const opened: AssociationLike[] = []
  const open = async (): Promise<AssociationLike> => {
    const relay = await openRelay()
    const [control, proxy] = duplexPair()
    proxy.on('close', () => relay.close())
    const association = await openUdpAssociation({ control, relayHost: '127.0.0.1', relayPort: relay.address.port })
    cleanup(() => association.close())
    opened.push(association)
    return association
  }
  return { opened, open }
}

/** Sends and waits for the answer. */
async function ask(client: Peer, at: { host: string; port: number }, text: string): Promise<string> {
  await client.send(Buffer.from(text), at)
  return (await client.next()).data.toString()
}

/** An association that the test plays. */
class FakeAssociation extends EventEmitter implements AssociationLike {
  readonly sent: string[] = []
  isClosed = false

  send(data: Uint8Array): void {
    if (this.isClosed) throw new Error('closed')
    this.sent.push(Buffer.from(data).toString())
  }

  close(): void {
    this.isClosed = true
  }
}

describe('UdpForward', () => {
  it.each([0, 1, 1_472, 9_000, 65_485])(
    '%i bytes there and back, directly and through an association',
    async (size) => {
      const echo = await Peer.echo()
      const target = { host: '127.0.0.1', port: echo.port }
      for (const options of [{ target }, { target, open: associations().open }]) {
        const { forward, at } = await startForward(options)
        const client = await Peer.open()
        await client.send(pattern(size), at)
        const { data, from } = await client.next()
        expect(data.equals(pattern(size))).toBe(true)
        expect(from.port).toBe(at.port)
        expect(forward.stats()).toEqual({
          clients: 1,
          datagramsUp: 1,
          bytesUp: size,
          datagramsDown: 1,
          bytesDown: size,
          dropped: 0,
        })
      }
    },
  )

  it('each client has a way of its own, and gets its own answers', async () => {
    const echo = await Peer.echo()
    const { opened, open } = associations()
    for (const options of [{}, { open }]) {
      const { forward, at } = await startForward({ target: { host: '127.0.0.1', port: echo.port }, ...options })
      const clients = await Promise.all(Array.from({ length: 5 }, () => Peer.open()))
      for (let round = 0; round < 3; round++) {
        const answers = await Promise.all(clients.map((client, index) => ask(client, at, `${index} ${round}`)))
        expect(answers).toEqual(clients.map((_, index) => `${index} ${round}`))
      }
      expect(forward.stats().clients).toBe(5)
    }
    expect(opened).toHaveLength(5)
  })

  it('what waits for the way is sent in order', async () => {
    const gate = deferred<AssociationLike>()
    const { forward, at } = await startForward({ target: { host: 'a.test', port: 9 }, open: () => gate.promise })
    const client = await Peer.open()
    for (let index = 0; index < 70; index++) await client.send(Buffer.from(`${index}`), at)
    await settlesAt(() => forward.stats().dropped, 6)
    const association = new FakeAssociation()
    gate.resolve(association)
    await settlesAt(() => association.sent.length, 64)
    expect(association.sent).toEqual(Array.from({ length: 64 }, (_, index) => `${index}`))
    expect(forward.stats()).toMatchObject({ datagramsUp: 64, dropped: 6 })
  })

  it('answers of others do not reach the client', async () => {
    const target = await Peer.open()
    const { at } = await startForward({ target: { host: '127.0.0.1', port: target.port } })
    const [client, stranger] = [await Peer.open(), await Peer.open()]
    await client.send(Buffer.from('x'), at)
    const { from } = await target.next()
    await stranger.send(Buffer.from('hijack'), { host: '127.0.0.1', port: from.port })
    await target.send(Buffer.from('answer'), { host: '127.0.0.1', port: from.port })
    expect((await client.next()).data.toString()).toBe('answer')
  })

  it('nor do those that come through an association from elsewhere', async () => {
    const association = new FakeAssociation()
    const { at } = await startForward({ target: { host: '192.0.2.1', port: 53 }, open: async () => association })
    const client = await Peer.open()
    await client.send(Buffer.from('x'), at)
    await settlesAt(() => association.sent.length, 1)
    association.emit('message', Buffer.from('other port'), { address: '192.0.2.1', port: 54 })
    association.emit('message', Buffer.from('other address'), { address: '192.0.2.2', port: 53 })
    association.emit('message', Buffer.from('answer'), { address: '192.0.2.1', port: 53 })
    expect((await client.next()).data.toString()).toBe('answer')
  })

  it('a target that is not there for a while loses what was sent then, and no more', async () => {
    const first = await Peer.echo()
    const { port } = first
    const { forward, at } = await startForward({ target: { host: '127.0.0.1', port } })
    const client = await Peer.open()
    expect(await ask(client, at, 'a')).toBe('a')
    first.close()
    for (let round = 0; round < 3; round++) await client.send(Buffer.from('lost'), at)
    await settlesAt(() => forward.stats().datagramsUp, 4)
    const back = await Peer.open('127.0.0.1', port)
    // The first after an ICMP error may be lost to it.
    for (let round = 0; round < 2; round++) await client.send(Buffer.from('back'), at)
    expect((await back.next()).data.toString()).toBe('back')
  })

  it('a client that was idle is forgotten, its socket closed, and the next datagram begins anew', async () => {
    const echo = await Peer.echo()
    const { forward, at } = await startForward({ target: { host: '127.0.0.1', port: echo.port }, idleTimeoutMs: 40 })
    const client = await Peer.open()
    const before = descriptors()
    expect(await ask(client, at, 'a')).toBe('a')
    expect(descriptors()).toBe(before + 1)
    expect(await settlesAt(descriptors, before)).toBe(before)
    expect(forward.stats().clients).toBe(0)
    expect(await ask(client, at, 'b')).toBe('b')
  })

  it('at the cap the client that was silent for longest makes room', async () => {
    const made: FakeAssociation[] = []
    const { forward, at } = await startForward({
      target: { host: 'a.test', port: 9 },
      maxClients: 2,
      open: async () => {
        const association = new FakeAssociation()
        made.push(association)
        return association
      },
    })
    const clients = [await Peer.open(), await Peer.open(), await Peer.open()]
    let sent = 0
    for (const index of [0, 1, 0, 2]) {
      await clients[index]!.send(Buffer.from('x'), at)
      sent++
      await settlesAt(() => forward.stats().datagramsUp, sent)
    }
    expect(made.map(({ isClosed }) => isClosed)).toEqual([false, true, false])
    expect(forward.stats().clients).toBe(2)
  })

  it('a way that cannot be opened is told once, and tried again after a pause, not for every datagram', async () => {
    let attempts = 0
    const { forward, at } = await startForward({
      target: { host: 'a.test', port: 9 },
      open: () => {
        attempts++
        throw new Error('down')
      },
    })
    const errors: unknown[] = []
    forward.on('error', (error) => errors.push(error))
    const client = await Peer.open()
    for (let round = 0; round < 20; round++) await client.send(Buffer.from('x'), at)
    await settlesAt(() => forward.stats().dropped, 20)
    expect([attempts, errors]).toEqual([1, [new Error('down')]])
    while (attempts < 2) {
      await client.send(Buffer.from('x'), at)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })

  it('an association that ends is replaced with the next datagram', async () => {
    const made: FakeAssociation[] = []
    const { forward, at } = await startForward({
      target: { host: 'a.test', port: 9 },
      open: async () => {
        const association = new FakeAssociation()
        made.push(association)
        return association
      },
    })
    const client = await Peer.open()
    await client.send(Buffer.from('a'), at)
    await settlesAt(() => forward.stats().datagramsUp, 1)
    made[0]!.emit('close')
    made[0]!.emit('message', Buffer.from('late'), { address: 'a.test', port: 9 })
    await client.send(Buffer.from('b'), at)
    await settlesAt(() => forward.stats().datagramsUp, 2)
    expect(made.map(({ sent }) => sent)).toEqual([['a'], ['b']])
    made[1]!.emit('message', Buffer.from('answer'), { address: 'a.test', port: 9 })
    expect((await client.next()).data.toString()).toBe('answer')
  })

  it('what an association refuses to send is dropped, and the next one passes', async () => {
    const echo = await Peer.echo()
    const { open } = associations()
    const { forward, at } = await startForward({ target: { host: '127.0.0.1', port: echo.port }, open })
    const client = await Peer.open()
    await client.send(pattern(65_507), at)
    await client.send(pattern(65_497), at)
    expect((await client.next()).data.equals(pattern(65_497))).toBe(true)
    expect(forward.stats()).toMatchObject({ datagramsUp: 1, dropped: 1 })
  })

  it('close() ends every way at once, those that are being opened, too', async () => {
    const before = descriptors()
    const [echo, gate] = [await Peer.echo(), deferred<AssociationLike>()]
    const direct = await startForward({ target: { host: '127.0.0.1', port: echo.port } })
    const opening = await startForward({ target: { host: 'a.test', port: 9 }, open: () => gate.promise })
    const client = await Peer.open()
    expect(await ask(client, direct.at, 'a')).toBe('a')
    await client.send(Buffer.from('x'), opening.at)
    await settlesAt(() => opening.forward.stats().clients, 1)
    for (const { forward } of [direct, opening]) {
      await forward.close()
      await forward[Symbol.asyncDispose]()
      await expect(forward.listen()).rejects.toMatchObject({ code: 'ERR_SOCKS_SERVER_CLOSED' })
    }
    const late = new FakeAssociation()
    gate.resolve(late)
    await settlesAt(() => Number(late.isClosed), 1)
    expect([late.isClosed, late.sent]).toEqual([true, []])
    expect(opening.forward.stats()).toMatchObject({ clients: 0, dropped: 1 })
    expect(await settlesAt(descriptors, before + 2)).toBe(before + 2)
  })

  it('a name is looked up once for each client; a list and a single address will do', async () => {
    const echo = await Peer.echo()
    const asked: string[] = []
    const answers = [
      [{ address: '127.0.0.1', family: 4 }],
      '127.0.0.1',
      [{ address: 'fe80::1%lo', family: 6 }, '127.0.0.1'],
    ]
    const { at } = await startForward({
      target: { host: 'Target.TEST', port: echo.port },
      lookup: (host, _options, callback) => {
        asked.push(host)
        // Either shape, and what is no address.
        callback(null, answers[asked.length - 1] as string)
      },
    })
    for (const client of [await Peer.open(), await Peer.open(), await Peer.open()]) {
      for (const text of ['a', 'b']) expect(await ask(client, at, text)).toBe(text)
    }
    expect(asked).toEqual(Array(3).fill('target.test'))
  })

  it('of several addresses the first to which there is a way is taken', async () => {
    const echo = await Peer.echo()
    const { at } = await startForward({
      target: { host: 'target.test', port: echo.port },
      // From loopback there is no way to another network.
      localAddress: '127.0.0.1',
      lookup: (_host, _options, callback) =>
        callback(null, [
          { address: '192.0.2.1', family: 4 },
          { address: '::1', family: 6 },
          { address: '127.0.0.1', family: 4 },
        ]),
    })
    expect(await ask(await Peer.open(), at, 'x')).toBe('x')
  })

  it('a name without an address is an error', async () => {
    for (const lookup of [
      (_host: string, _options: unknown, callback: (error: null, address: []) => void) => callback(null, []),
      async () => Promise.reject(new Error('no')),
      () => {
        throw new Error('no')
      },
    ]) {
      const { forward, at } = await startForward({ target: { host: 'a.test', port: 9 }, lookup })
      const told = new Promise((resolve) => forward.on('error', resolve))
      await (await Peer.open()).send(Buffer.from('x'), at)
      expect(await told).toBeInstanceOf(Error)
    }
  })

  it('a forward to itself does not go round', async () => {
    const first = await startForward({ target: { host: '127.0.0.1', port: 9 } })
    await first.forward.close()
    const forward = createUdpForward({ target: { host: '127.0.0.1', port: first.at.port } })
    cleanup(() => forward.close())
    await forward.listen(first.at.port)
    const client = await Peer.open()
    for (let round = 0; round < 3; round++) await client.send(Buffer.from('x'), first.at)
    await settlesAt(() => forward.stats().dropped, 3)
    expect(forward.stats()).toMatchObject({ clients: 1, datagramsUp: 3, dropped: 3 })
  })

  it('listens on several addresses, and refuses what is none', async () => {
    const echo = await Peer.echo()
    const { forward, at } = await startForward({ target: { host: '127.0.0.1', port: echo.port } })
    const six = await forward.listen({ host: '::1', port: 0 })
    expect(forward.addresses).toEqual([at, six])
    expect(await ask(await Peer.open('::1'), six, 'six')).toBe('six')
    await expect(forward.listen(at.port)).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await expect(forward.listen({ host: 'localhost' })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    await expect(forward.listen(65_536)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    const target = { host: '127.0.0.1', port: 9 }
    for (const [options, code] of [
      [{}, 'ERR_INVALID_ARG_VALUE'],
      [{ target: {} }, 'ERR_INVALID_ARG_VALUE'],
      [{ target: { host: '127.0.0.1' } }, 'ERR_OUT_OF_RANGE'],
      [{ target: { host: '127.0.0.1', port: 0 } }, 'ERR_OUT_OF_RANGE'],
      [{ target: { host: '127.1', port: 9 } }, 'ERR_SOCKS_INVALID_HOST'],
      [{ target, idleTimeoutMs: -1 }, 'ERR_OUT_OF_RANGE'],
      [{ target, maxClients: 0 }, 'ERR_OUT_OF_RANGE'],
      [{ target, idle: 1 }, 'ERR_INVALID_ARG_VALUE'],
      [{ target, localAddress: 'eth0' }, 'ERR_INVALID_ARG_VALUE'],
      [{ target, open: async () => new FakeAssociation(), localAddress: '127.0.0.1' }, 'ERR_INVALID_ARG_VALUE'],
    ] as const) {
      // Whatever a caller in JavaScript may pass.
      expect(thrownBy(() => createUdpForward(options as UdpForwardOptions))).toMatchObject({ code })
    }
  })
})
