import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { peerOf, requestBind } from '../support/bind-client.js'
import { CLI, isListening, Program, type Serving, startServe, tubesock } from '../support/cli.js'
import { settlesAt } from '../support/descriptors.js'
import { connectRequest, GREETING_NO_AUTH, RawClient } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'
import { startEcho } from '../support/targets.js'

/** Process ids of the workers. */
function workersOf({ program }: Serving): number[] {
  return childrenOf(program.pid)
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
}

async function client(port: number): Promise<RawClient> {
  const raw = await RawClient.connect(port)
  cleanup(() => raw.stream.destroy())
  return raw
}

async function tunnel(port: number, target: number): Promise<RawClient> {
  const raw = await client(port)
  raw.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target)]))
  expect((await raw.read(12)).slice(4, 8)).toBe('0500')
  return raw
}

async function echoes(port: number): Promise<boolean> {
  const echo = await startEcho()
  const raw = await tunnel(port, echo.port)
  raw.write(Buffer.from('hello'))
  const answer = Buffer.from(await raw.read(5), 'hex').toString()
  raw.stream.destroy()
  await echo.close()
  return answer === 'hello'
}

describe('serve --workers', () => {
  it('starts them on one port, says once that it is ready, and serves', async () => {
    const serving = await startServe(['--workers', '2'])
    expect(workersOf(serving).length).toBe(2)
    expect(await echoes(serving.port)).toBe(true)
    serving.program.kill('SIGTERM')
    const { code, stdout, stderr } = await serving.program.finished
    expect([code, String(stdout).split('\n').length, stderr]).toEqual([0, 2, ''])
    expect(await isListening(serving.port)).toBe(false)
  })

  it('BIND listeners of two workers never share a port, so that no user gets the peer of another', async () => {
    const serving = await startServe(['--workers', '2', '--commands', 'connect,bind', '--log', 'json'])
    const [first = 0, second = 0] = workersOf(serving)
    const fixture = { client: () => client(serving.port) }
    const bound: { port: number; raw: RawClient }[] = []
    // One worker is stopped while the other takes all clients; then the other way round.
    for (const stopped of [first, second]) {
      process.kill(stopped, 'SIGSTOP')
      for (let index = 0; index < 20; index++) {
        const { client: raw, first: reply } = await requestBind(fixture)
        expect(reply.code).toBe(0)
        bound.push({ port: reply.port, raw })
      }
      process.kill(stopped, 'SIGCONT')
    }
    const toldBy = (worker: number) =>
      serving.program.stderr.split('\n').filter((line) => line.includes(`"event":"listening","worker":${worker},`))
        .length
    const byWorker = [await settlesAt(() => toldBy(1), 20), await settlesAt(() => toldBy(2), 20)]
    expect(byWorker).toEqual([20, 20])
    expect(new Set(bound.map(({ port }) => port)).size).toBe(40)
    // Each peer reaches the client whose port it connects to.
    for (const { port, raw } of bound) {
      peerOf({ host: '127.0.0.1', port }).end(`for ${port}`)
      expect((await raw.readToEnd()).subarray(10).toString()).toBe(`for ${port}`)
      raw.stream.destroy()
    }
  })

  it('a worker that dies is replaced on the same port, while the other one serves', async () => {
    const serving = await startServe(['--workers', '2'])
    const [first = 0, second = 0] = workersOf(serving)
    process.kill(first, 'SIGKILL')
    expect(await echoes(serving.port)).toBe(true)
    await serving.program.output(/worker 1 ended \(SIGKILL\); starting another/, 'stderr')
    expect(await settlesAt(() => workersOf(serving).length, 2)).toBe(2)
    // Only the replacement can be the one that answers.
    process.kill(second, 'SIGSTOP')
    expect(await echoes(serving.port)).toBe(true)
    process.kill(second, 'SIGKILL')
    await serving.program.output(/worker 2 ended \(SIGKILL\); starting another/, 'stderr')
    expect(await settlesAt(() => workersOf(serving).length, 2)).toBe(2)
    expect(await echoes(serving.port)).toBe(true)
  })

  it.each(['SIGTERM', 'SIGINT'] as const)(
    '%s lets a tunnel of any worker finish, a second signal does not',
    async (signal) => {
      const echo = await startEcho()
      cleanup(() => echo.close())
      const graceful = await startServe(['--workers', '2'])
      const open = await tunnel(graceful.port, echo.port)
      graceful.program.kill(signal)
      while (await isListening(graceful.port)) await new Promise((resolve) => setTimeout(resolve, 10))
      open.write(Buffer.from('still'))
      expect(Buffer.from(await open.read(5), 'hex').toString()).toBe('still')
      open.end()
      await open.readToEnd()
      expect((await graceful.program.finished).code).toBe(0)

      const hurried = await startServe(['--workers', '2'])
      const cut = await tunnel(hurried.port, echo.port)
      hurried.program.kill(signal)
      while (await isListening(hurried.port)) await new Promise((resolve) => setTimeout(resolve, 10))
      hurried.program.kill(signal)
      expect((await hurried.program.finished).code).toBe(0)
      await cut.readToEnd()
    },
  )

  it('one SIGTERM is enough, also while the workers are starting', async () => {
    const program = new Program(process.execPath, [CLI, 'serve', '--workers', '2', '--listen', '127.0.0.1:0'])
    const count = () => childrenOf(program.pid).length
    expect(await settlesAt(count, 2)).toBe(2)
    program.kill('SIGTERM')
    const { code, stdout } = await program.finished
    expect([code, String(stdout)]).toEqual([0, ''])
  })

  it('a worker that hears nothing is ended with the second signal', async () => {
    const serving = await startServe(['--workers', '2'])
    const [stuck = 0] = workersOf(serving)
    process.kill(stuck, 'SIGSTOP')
    serving.program.kill('SIGTERM')
    // The other one has heard.
    expect(await settlesAt(() => workersOf(serving).length, 1)).toBe(1)
    serving.program.kill('SIGTERM')
    expect((await serving.program.finished).code).toBe(0)
    expect(isAlive(stuck)).toBe(false)
  })

  it('workers end with the process that started them', async () => {
    const serving = await startServe(['--workers', '2'])
    const pids = workersOf(serving)
    serving.program.kill('SIGKILL')
    await serving.program.finished
    const alive = () => pids.filter((pid) => isAlive(pid)).length
    expect(await settlesAt(alive, 0)).toBe(0)
  })

  it('a port that is taken, and an open proxy, are one line and a code, not one for each worker', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const taken = await tubesock(['serve', '--workers', '3', '--listen', `127.0.0.1:${echo.port}`])
    expect([taken.code, taken.stderr]).toEqual([1, `tubesock: cannot listen on 127.0.0.1:${echo.port} (EADDRINUSE)\n`])
    const open = await tubesock(['serve', '--workers', '2', '--listen', '0.0.0.0:0'])
    expect(open.code).toBe(2)
    expect(open.stderr.trim().split('\n').length).toBe(1)
  })

  it.each(['-1', 'two', '1.5', '', '99999'])('--workers %s is a wrong command line', async (count) => {
    const { code, stderr } = await tubesock(['serve', `--workers=${count}`])
    expect([code, stderr.trim().split('\n').length]).toEqual([2, 1])
  })
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
