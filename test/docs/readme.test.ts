import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CLI, Program, plainEnvironment, run } from '../support/cli.js'
import { refusedPort } from '../support/targets.js'
import { type Block, codeBlocks, isNpmBlock, npmProblems } from './blocks.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
// In the repository, so that `import 'tubesock'` finds the package by its own name, as it would in node_modules.
const FOLDER = join(ROOT, '.docs-run')
const BIN = join(FOLDER, 'bin')
const LANGUAGES = ['js', 'ts', 'sh']
const BLOCK_TIMEOUT_MS = 30_000
// Ports that the documents speak of. Here they may be taken, so free ones stand in for them.
const PORTS = /\b(?:1080|1081|7777|8080)\b/g

const documents = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)]
  .filter((name) => name.endsWith('.md'))
  .map((name) => ({
    name,
    blocks: codeBlocks(read(name)).filter(({ language }) => LANGUAGES.includes(language)),
  }))

beforeAll(() => {
  rmSync(FOLDER, { recursive: true, force: true })
  mkdirSync(BIN, { recursive: true })
  writeFileSync(join(BIN, 'tubesock'), `#!/bin/sh\nexec "${process.execPath}" "${CLI}" "$@"\n`, { mode: 0o755 })
  // What the documents call the file of `--users`.
  writeFileSync(join(FOLDER, 'users.txt'), 'alice:wonderland\n')
  // `npx tubesock ...` runs what was built, and downloads nothing.
  writeFileSync(join(BIN, 'npx'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 })
})
afterAll(() => rmSync(FOLDER, { recursive: true, force: true }))

it('README.md has JavaScript that runs', () => {
  const readme = documents.find(({ name }) => name === 'README.md')
  expect(readme?.blocks.some(({ language, how }) => language === 'js' && how !== 'skip')).toBe(true)
})

describe.each(documents.filter(({ blocks }) => blocks.length > 0))('$name', ({ name, blocks }) => {
  for (const { how, line, reason } of blocks) if (how === 'skip') it.skip(`line ${line}: ${reason}`, () => {})

  it('does what it says', { timeout: BLOCK_TIMEOUT_MS * (blocks.length + 1) }, async () => {
    const ports = new Map<string, number>()
    for (const port of blocks.flatMap(({ code }) => code.match(PORTS) ?? [])) ports.set(port, await refusedPort())
    // What shows a server runs until the document ends, so that the lines after it have something to talk to.
    const servers: { readonly where: string; readonly program: Program }[] = []
    for (const written of blocks) {
      const block = { ...written, code: written.code.replaceAll(PORTS, (port) => String(ports.get(port))) }
      const where = `${name}:${block.line}`
      if (block.how === 'skip') continue
      else if (block.how === 'server') servers.push({ where, program: await startServer(block, where) })
      else if (block.language === 'sh' && isNpmBlock(block.code)) checkNpm(block.code, where)
      else await runToEnd(block, where)
    }
    for (const { where, program } of servers) await stopServer(program, where)
  })
})

async function runToEnd(block: Block, where: string): Promise<void> {
  const program = await start(block, where)
  const timer = setTimeout(() => program.killGroup('SIGKILL'), BLOCK_TIMEOUT_MS)
  const { code, signal, stdout, stderr } = await program.finished
  clearTimeout(timer)
  expect({ code, signal }, `${where}\n${stdout}\n${stderr}`).toEqual({ code: 0, signal: null })
}

/** Each command of a shell block is a server of its own; the last one is left running. */
async function startServer(block: Block, where: string): Promise<Program> {
  const commands =
    block.language === 'sh' ? block.code.split(/(?<!\\)\n/).filter((line) => /^[^#\s]/.test(line)) : [block.code]
  let program: Program | undefined
  for (const code of commands) {
    if (program !== undefined) await stopServer(program, where)
    program = await start({ ...block, code }, where)
    // Whatever it prints first says that it is ready.
    await program.output(/\S.*\n/)
  }
  if (program === undefined) throw new Error(`${where} starts nothing`)
  return program
}

async function stopServer(program: Program, where: string): Promise<void> {
  program.killGroup('SIGTERM')
  const { code, signal, stderr } = await program.finished
  expect(code === 0 || signal === 'SIGTERM', `${where}: exit ${code}\n${stderr}`).toBe(true)
}

function checkNpm(code: string, where: string): void {
  expect(npmProblems(code, JSON.parse(read('package.json'))), where).toEqual([])
}

/** Starts a block in a process group of its own: a shell is not alone in it. */
async function start({ language, code }: Block, where: string): Promise<Program> {
  const environment = { ...plainEnvironment(), PATH: [BIN, process.env.PATH].join(delimiter) }
  const options = { cwd: FOLDER, ownGroup: true, env: environment }
  const name = where.replaceAll(/\W/g, '-')
  if (language === 'sh') return new Program('sh', ['-e', '-c', code], options)
  if (language === 'js') {
    writeFileSync(join(FOLDER, `${name}.mjs`), code)
    return new Program(process.execPath, [`${name}.mjs`], options)
  }
  writeFileSync(join(FOLDER, `${name}.mts`), code)
  await compile(`${name}.mts`, where)
  return new Program(process.execPath, [`${name}.mjs`], options)
}

async function compile(file: string, where: string): Promise<void> {
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const flags = [
    '--ignoreConfig',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2022',
    '--types',
    'node',
    '--rootDir',
    '.',
  ]
  const { code, stdout } = await run(process.execPath, [tsc, ...flags, file], { cwd: FOLDER })
  expect(code, `${where}\n${stdout}`).toBe(0)
}

function read(name: string): string {
  return readFileSync(join(ROOT, name), 'utf8')
}
