import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Inbox } from '../../src/codec/index.js'
import { bytes, concat, hex } from '../support/bytes.js'
import { socksError } from './laws.js'

describe('Inbox', () => {
  it('is empty at first', () => {
    const inbox = new Inbox(10)
    expect(inbox.length).toBe(0)
    expect(inbox.peek().length).toBe(0)
    expect(inbox.take().length).toBe(0)
  })

  it('gives a view of the one chunk that holds everything, and no copy', () => {
    const inbox = new Inbox(10)
    const chunk = bytes('010203')
    inbox.push(chunk)
    expect(inbox.peek()).toBe(chunk)
    inbox.consume(1)
    expect(inbox.peek().buffer).toBe(chunk.buffer)
    expect(hex(inbox.peek())).toBe('0203')
    expect(inbox.length).toBe(2)
  })

  it('joins chunks once, in order', () => {
    const inbox = new Inbox(10)
    for (const part of ['01', '0203', '04']) inbox.push(bytes(part))
    expect(hex(inbox.peek())).toBe('01020304')
    expect(inbox.peek()).toBe(inbox.peek())
    expect(inbox.length).toBe(4)
  })

  it('takes all and is empty then', () => {
    const inbox = new Inbox(10)
    inbox.push(bytes('0102'))
    inbox.push(bytes('03'))
    expect(hex(inbox.take())).toBe('010203')
    expect(inbox.length).toBe(0)
    expect(inbox.take().length).toBe(0)
  })

  it('puts bytes back in front', () => {
    const inbox = new Inbox(10)
    inbox.push(bytes('0304'))
    inbox.unshift(bytes('0102'))
    inbox.unshift(bytes(''))
    expect(inbox.length).toBe(4)
    expect(hex(inbox.take())).toBe('01020304')
  })

  it('S41 refuses a chunk once the limit is reached, and stores nothing of it', () => {
    const inbox = new Inbox(4)
    inbox.push(bytes('010203'))
    // Three of four: the chunk in hand is taken whole.
    inbox.push(bytes('040506'))
    expect(inbox.length).toBe(6)
    socksError(() => inbox.push(bytes('07')), 'ERR_SOCKS_RECEIVE_OVERFLOW')
    expect(hex(inbox.peek())).toBe('010203040506')
    inbox.push(bytes(''))
    inbox.consume(3)
    inbox.push(bytes('07'))
    expect(hex(inbox.take())).toBe('04050607')
  })

  it('a chunk larger than the limit is taken when nothing waits', () => {
    const inbox = new Inbox(2)
    inbox.push(bytes('0102030405'))
    expect(inbox.length).toBe(5)
    socksError(() => inbox.push(bytes('06')), 'ERR_SOCKS_RECEIVE_OVERFLOW')
  })

  it('what is put back is not bounded', () => {
    const inbox = new Inbox(2)
    inbox.unshift(bytes('0102030405'))
    expect(inbox.length).toBe(5)
  })

  it('empty chunks leave no trace', () => {
    const inbox = new Inbox(2)
    const chunk = bytes('01')
    inbox.push(bytes(''))
    inbox.push(chunk)
    inbox.push(bytes(''))
    expect(inbox.peek()).toBe(chunk)
  })

  it('is a queue of bytes, whatever is done to it in whatever order', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('push' as const), data: fc.uint8Array({ maxLength: 6 }) }),
      fc.record({ do: fc.constant('unshift' as const), data: fc.uint8Array({ maxLength: 6 }) }),
      fc.record({ do: fc.constant('consume' as const), part: fc.double({ min: 0, max: 1, noNaN: true }) }),
      fc.record({ do: fc.constant('take' as const) }),
      fc.record({ do: fc.constant('peek' as const) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const inbox = new Inbox(1_000)
        let model: Uint8Array = new Uint8Array(0)
        for (const action of steps) {
          switch (action.do) {
            case 'push':
              inbox.push(action.data)
              model = concat(model, action.data)
              break
            case 'unshift':
              inbox.unshift(action.data)
              model = concat(action.data, model)
              break
            case 'consume': {
              const count = Math.floor(action.part * model.length)
              inbox.consume(count)
              model = model.slice(count)
              break
            }
            case 'take':
              expect(hex(inbox.take())).toBe(hex(model))
              model = new Uint8Array(0)
              break
            case 'peek':
              expect(hex(inbox.peek())).toBe(hex(model))
          }
          expect(inbox.length).toBe(model.length)
        }
        expect(hex(inbox.take())).toBe(hex(model))
      }),
    )
  })
})
