import { describe, expect, it } from 'vitest'
import { SocksError } from '../../src/codec/index.js'
import { Cancellation, untilCancelled } from '../../src/server/cancellation.js'
import { Operation } from '../../src/server/operation.js'
import { deferred } from '../support/deferred.js'

const never = (): SocksError => new SocksError('ERR_SOCKS_ABORTED', 'nobody asks for this')

describe('a cancellation', () => {
  it('tells its listeners once, in their order, and makes its reason when somebody asks', () => {
    const cancellation = new Cancellation()
    const heard: string[] = []
    let made = 0
    cancellation.add(() => heard.push('a'))
    cancellation.add(() => heard.push('b'))
    cancellation.cancel(() => {
      made++
      return 'first'
    })
    cancellation.cancel(never)
    expect(heard).toEqual(['a', 'b'])
    expect(made).toBe(0)
    expect([cancellation.reason, cancellation.reason]).toEqual(['first', 'first'])
    expect(made).toBe(1)
  })

  it('a reason of undefined is a reason', () => {
    const cancellation = new Cancellation()
    cancellation.cancel(() => undefined)
    expect(cancellation.isCancelled).toBe(true)
    expect(cancellation.signal.aborted).toBe(true)
  })

  it('its signal aborts with the reason, whether it was asked for before or after', () => {
    const cancellation = new Cancellation()
    const before = cancellation.signal
    cancellation.cancel(() => 'why')
    expect(before.reason).toBe('why')
    expect(cancellation.signal).toBe(before)
    const late = new Cancellation()
    late.cancel(() => 'late')
    expect(late.signal.reason).toBe('late')
  })

  it('a listener that is removed, even by another one, hears nothing', () => {
    const cancellation = new Cancellation()
    const heard: string[] = []
    const removed = (): unknown => heard.push('removed')
    cancellation.add(removed)
    cancellation.remove(removed)
    cancellation.remove(removed)
    cancellation.cancel(never)
    expect(heard).toEqual([])
  })
})

describe('waiting for a hook', () => {
  it('ends when it is called off, and what comes later is discarded', async () => {
    const cancellation = new Cancellation()
    const work = deferred<string>()
    const discarded: string[] = []
    const waiting = untilCancelled(
      cancellation,
      () => work.promise,
      (late) => discarded.push(late),
    )
    cancellation.cancel(() => new Error('gone'))
    await expect(waiting).rejects.toThrow('gone')
    work.resolve('late')
    await work.promise
    await Promise.resolve()
    expect(discarded).toEqual(['late'])
  })

  it('does not begin when it was called off before', async () => {
    const cancellation = new Cancellation()
    cancellation.cancel(() => new Error('gone'))
    let began = false
    await expect(untilCancelled(cancellation, () => (began = true))).rejects.toThrow('gone')
    expect(began).toBe(false)
  })

  it('a hook that throws is a rejection', async () => {
    const thrown = untilCancelled(new Cancellation(), () => {
      throw new Error('hook')
    })
    await expect(thrown).rejects.toThrow('hook')
  })
})

describe('an operation', () => {
  it('is called off with what its owner was called off with, a cancellation or a signal', () => {
    const owner = new Cancellation()
    const controller = new AbortController()
    const operations = [new Operation(owner, 0, never), new Operation(controller.signal, 0, never)]
    owner.cancel(() => 'owner')
    controller.abort('signal')
    expect(operations.map(({ reason }) => reason)).toEqual(['owner', 'signal'])
  })

  it('that is done hears nothing any more', () => {
    const owner = new Cancellation()
    const operation = new Operation(owner, 0, never)
    operation.done()
    owner.cancel(never)
    expect(operation.isCancelled).toBe(false)
  })
})
