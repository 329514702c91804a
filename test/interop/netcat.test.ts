import { describe, expect, it } from 'vitest'
import { Program, run, startServe } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { cleanup } from '../support/servers.js'
import { startTarget } from '../support/targets.js'
import { readToFin, startAnswerAfterFin } from './fin.js'
import { largeFile, PAGE, sha256, startSite } from './site.js'

const REQUEST = 'GET / HTTP/1.0\r\n\r\n'

describe('netcat-openbsd', () => {
  const nc = requireProgram('nc.openbsd', 'netcat-openbsd')

  it.each([
    ['its end kept open', []],
    ['a FIN right after the request', ['-N']],
  ])('S81 S86 printf | nc -X 5 prints the page, with %s', async (_what, options) => {
    const { port } = await startSite()
    const { address } = await startServe()
    const args = [...options, '-X', '5', '-x', address, '127.0.0.1', String(port)]
    const { code, stdout } = await run(nc, args, { input: REQUEST })
    expect(code).toBe(0)
    expect(stdout.toString()).toMatch(new RegExp(`^HTTP/1\\.1 200 OK\r\n.*\r\n\r\n${PAGE}$`, 's'))
  })

  it('S53 asks by name', async () => {
    const { port } = await startSite()
    const { address } = await startServe()
    const { stdout } = await run(nc, ['-X', '5', '-x', address, 'localhost', String(port)], { input: REQUEST })
    expect(stdout.toString()).toContain(PAGE)
  })

  it('S81 8 MiB each way, the answer after the FIN of the client', async () => {
    const question = largeFile(8)
    const answer = largeFile(8)
    const digests: string[] = []
    const target = await startAnswerAfterFin((received) => {
      digests.push(sha256(received))
      return answer.content
    })
    const { address } = await startServe()
    const args = ['-N', '-X', '5', '-x', address, '127.0.0.1', String(target.port)]
    const { code, stdout } = await run(nc, args, { input: question.content })
    expect({ code, digest: sha256(stdout) }).toEqual({ code: 0, digest: answer.digest })
    expect(digests).toEqual([question.digest])
  })

  it('S82 8 MiB each way, those of the client after the FIN of the target', async () => {
    const first = largeFile(8)
    const second = largeFile(8)
    const target = await startTarget()
    cleanup(() => target.close())
    const { address } = await startServe()
    const args = ['-N', '-X', '5', '-x', address, '127.0.0.1', String(target.port)]
    const program = new Program(nc, args, { keepStdinOpen: true })
    const socket = await target.connection()
    const received = readToFin(socket)
    socket.end(first.content)
    // netcat has it all, and with it soon the FIN, before it is given anything to send.
    await new Promise<void>((resolve) => {
      let length = 0
      program.child.stdout.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length === first.content.length) resolve()
      })
    })
    program.child.stdin.end(second.content)
    expect(sha256(await received)).toBe(second.digest)
    const { code, stdout } = await program.finished
    expect({ code, digest: sha256(stdout) }).toEqual({ code: 0, digest: first.digest })
  })

  it('S2 finds no method where a password is asked for, because it can do none', async () => {
    const { address } = await startServe(['--user', 'ann:secret'])
    const { code, stdout } = await run(nc, ['-N', '-X', '5', '-x', address, '127.0.0.1', '9'], { input: REQUEST })
    expect(code).toBe(1)
    expect(stdout.length).toBe(0)
  })
})
