import { Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { relay } from '../../src/server/index.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { ask, newTarget, startForward } from '../support/forward-server.js'
import { RawClient } from '../support/raw-client.js'

const MEGABYTE = Buffer.alloc(1_048_576, 'abcdefghijklmnop')

describe('limits and times of a forward server', () => {
  it('maxConnections and maxConnectionsPerClient turn the newcomer away', async () => {
    const target = await newTarget()
    const fixture = await startForward({
      target: { host: '127.0.0.1', port: target.port },
      maxConnections: 3,
      maxConnectionsPerClient: 2,
    })
    for (const localAddress of ['127.0.0.1', '127.0.0.1', '127.0.0.2']) {
      await fixture.client({ localAddress })
      await target.connection()
    }
    expect(await ask(fixture)).toBe('')
    const [open] = [...target.sockets].slice(-1)
    const freed = fixture.closed()
    open?.resetAndDestroy()
    await freed
    const third = await fixture.client()
    expect(String(await third.readToEnd())).toBe('')
    expect(fixture.denied.map(({ rule }) => rule)).toEqual(['maxConnections', 'maxConnectionsPerClient'])
  })

  it('maxHandshakes drops who has waited longest for its target', async () => {
    const fixture = await startForward({ target: () => new Promise<never>(() => {}), maxHandshakes: 2 })
    const clients = [await fixture.client(), await fixture.client()]
    await vi.waitFor(() => expect(fixture.server.stats().handshakes).toBe(2), 10_000)
    const closing = fixture.closed()
    clients.push(await fixture.client())
    expect(await closing).toMatchObject({ reason: 'limit', session: { id: 1 } })
    expect(fixture.server.stats().handshakes).toBe(2)
  })

  it('S144 close waits for tunnels within its grace, destroys them after it, and accepts nobody', async () => {
    const target = await newTarget()
    const options = { target: { host: '127.0.0.1', port: target.port } }
    const patient = await startForward(options)
    const client = await patient.client()
    const far = await target.connection()
    const closing = patient.server.close({ graceMs: 20_000 })
    far.end('goodbye')
    client.end()
    expect(String(await client.readToEnd())).toBe('goodbye')
    await closing
    await expect(RawClient.connect(patient.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    const before = descriptors()
    const hurried = await startForward(options)
    const told = hurried.closed()
    const cut = await hurried.client()
    const other = await target.connection()
    await hurried.server.close({ graceMs: 10 })
    expect(await told).toMatchObject({ reason: 'shutdown' })
    await cut.closed
    other.destroy()
    expect(await settlesAt(descriptors, before)).toBe(before)
  })

  it('idleTimeoutMs ends a silent tunnel, drainTimeoutMs a half-closed one', async () => {
    const target = await newTarget()
    const options = { target: { host: '127.0.0.1', port: target.port } }
    const idle = await startForward({ ...options, idleTimeoutMs: 40 })
    const silent = idle.closed()
    await (await idle.client()).send(Buffer.from('x'))
    expect(await silent).toMatchObject({ reason: 'idle-timeout', bytesUp: 1 })
    const draining = await startForward({ ...options, drainTimeoutMs: 40 })
    const half = draining.closed()
    ;(await draining.client()).end()
    expect(await half).toMatchObject({ reason: 'drain-timeout' })
  })
})

describe('relay, as it is exported', () => {
  /** A stream that takes as many writes as it is told to; the next one waits, or fails. */
  function taking(writes: number, failure?: Error): Duplex {
    let taken = 0
    return new Duplex({
      allowHalfOpen: true,
      read() {},
      write(_chunk, _encoding, done) {
        if (taken++ < writes) done()
        else if (failure !== undefined) setImmediate(done, failure)
      },
    })
  }

  it.each<[string, Duplex, (sink: Duplex) => void]>([
    ['fails to write', taking(2, new Error('EPIPE')), () => {}],
    ['is reset while it writes', taking(2), (sink) => sink.destroy(new Error('ECONNRESET'))],
    ['is destroyed while it writes', taking(2), (sink) => sink.destroy()],
  ])('a side that %s was given what it has taken, and no more is counted', async (_what, sink, cut) => {
    const [far, source] = duplexPair()
    far.on('error', () => {})
    const joint = relay(source, sink)
    for (let sent = 0; sent < 5; sent++) {
      far.write(Buffer.alloc(10))
      await new Promise(setImmediate)
    }
    cut(sink)
    expect(await joint.closed).toMatchObject({ reason: 'reset' })
    expect(joint.bytesUp).toBe(20)
    // Nor later, when a write comes back that was under way.
    await new Promise(setImmediate)
    expect(joint.bytesUp).toBe(20)
  })

  it('a header that was written before it is none of its bytes', async () => {
    const [far, source] = duplexPair()
    const sink = taking(0)
    sink.write(Buffer.alloc(1_000))
    const joint = relay(source, sink)
    far.write(Buffer.alloc(10))
    await new Promise(setImmediate)
    sink.destroy()
    await joint.closed
    expect(joint.bytesUp).toBe(0)
  })

  it('counts what a target has received when the other side resets in the middle', async () => {
    const target = await newTarget()
    const fixture = await startForward({ target: { host: '127.0.0.1', port: target.port } })
    for (const who of ['client', 'target']) {
      const closing = fixture.closed()
      const client = await fixture.client()
      const far = new RawClient(await target.connection())
      client.write(MEGABYTE)
      far.write(MEGABYTE.subarray(0, 1_000))
      expect((await far.read(MEGABYTE.length)).length).toBe(2 * MEGABYTE.length)
      await client.read(1_000)
      if (who === 'client') client.reset()
      else far.reset()
      expect(await closing).toMatchObject({ reason: 'reset', bytesUp: MEGABYTE.length, bytesDown: 1_000 })
    }
  })

  it('ends two silent streams by idleTimeoutMs', async () => {
    const [left, a] = duplexPair()
    const [right, b] = duplexPair()
    for (const stream of [left, right]) stream.on('error', () => {})
    const joint = relay(a, b, { idleTimeoutMs: 30 })
    left.write('x')
    expect(await joint.closed).toEqual({ reason: 'idle-timeout' })
    expect([a.destroyed, b.destroyed]).toEqual([true, true])
  })

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, '5'])(
    'refuses %s milliseconds before it touches a stream',
    (ms) => {
      // A timer would take them for one millisecond.
      for (const name of ['idleTimeoutMs', 'drainTimeoutMs']) {
        const [a] = duplexPair()
        const [b] = duplexPair()
        expect(() => relay(a, b, { [name]: ms })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
        expect([a.listenerCount('error'), a.readableFlowing]).toEqual([0, null])
      }
    },
  )
})
