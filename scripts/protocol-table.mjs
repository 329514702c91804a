// @ts-check
// `node scripts/protocol-table.mjs`: writes into docs/protocol.md which test proves each row that is marked done.
// Numbers come from the titles of the tests: `it('S48 a name of zero length is never dialed', ...)`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseAst } from 'vitest/node'

const START = '<!-- protocol-table -->'
const END = '<!-- /protocol-table -->'

/** Numbers of conformance cases: each has at least one row. */
const LAST_NUMBER = 145

/**
 * A test, by the numbers in its title.
 * @typedef {{ readonly file: string, readonly title: string, readonly tokens: readonly string[] }} NumberedTest
 * A line of the table. `line` is its index in the document.
 * @typedef {{ readonly line: number, readonly number: number, readonly side: string, readonly behaviour: string, readonly status: string }} Row
 */

/**
 * The numbered tests of every `*.test.ts` in a folder and below, in the order of their files and lines.
 * @param {string} directory
 * @returns {NumberedTest[]}
 */
export function collectTests(directory) {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .sort()
    .flatMap((file) => numberedTests(file.split(sep).join('/'), readFileSync(join(directory, file), 'utf8')))
}

/**
 * The numbered tests of one source. Those that never run (`skip`, `todo`) prove nothing and are left out.
 * @param {string} file name to report
 * @param {string} source TypeScript
 * @returns {NumberedTest[]}
 */
export function numberedTests(file, source) {
  /** @type {NumberedTest[]} */
  const tests = []
  visit(parseAst(source, { lang: 'ts' }), (node) => {
    const title = titleOf(node)
    const tokens = title?.match(/(?<=^|\s)[SCK][0-9]{1,3}(?=$|[\s:,])/g) ?? []
    if (title !== undefined && tokens.length > 0) tests.push({ file, title, tokens })
  })
  return tests
}

/**
 * What is wrong with a document, a line each; empty when it tells the truth.
 * @param {string} markdown
 * @param {readonly NumberedTest[]} tests
 * @returns {string[]}
 */
export function protocolProblems(markdown, tests) {
  const rows = parseRows(markdown)
  const byToken = new Map(rows.map((row) => [tokenOf(row), row]))
  const tested = new Set(tests.flatMap(({ tokens }) => tokens))
  const numbers = new Set(rows.map(({ number }) => number))
  const problems = []
  if (byToken.size < rows.length) problems.push('a number and side has two rows')
  for (let number = 1; number <= LAST_NUMBER; number++) if (!numbers.has(number)) problems.push(`${number} has no row`)
  for (const row of rows) {
    const token = tokenOf(row)
    if (row.status !== 'done' && row.status !== 'later') problems.push(`${token} is neither done nor later`)
    if (row.status === 'done' && !tested.has(token)) problems.push(`${token} is marked done, but no test carries it`)
  }
  for (const { file, title, tokens } of tests) {
    for (const token of tokens) {
      // A row that is marked later may have tests: of the codec, whose adapter is still to come.
      if (!byToken.has(token)) problems.push(`${token} is without a row, but ${file} tests it: ${title}`)
    }
  }
  return problems
}

/**
 * The document with the last column filled in.
 * @param {string} markdown
 * @param {readonly NumberedTest[]} tests
 */
export function renderTable(markdown, tests) {
  const lines = markdown.split('\n')
  for (const row of parseRows(markdown)) {
    const proofs = row.status === 'done' ? proofsOf(tokenOf(row), tests) : ''
    lines[row.line] = `| ${[row.number, row.side, row.behaviour, row.status].join(' | ')} |${proofs && ` ${proofs}`} |`
  }
  return lines.join('\n')
}

/**
 * @param {string} token
 * @param {readonly NumberedTest[]} tests
 */
function proofsOf(token, tests) {
  return tests
    .filter(({ tokens }) => tokens.includes(token))
    .map(({ file, title }) => `\`${file}\`: ${escapeCell(title)}`)
    .join('<br>')
}

/** @param {string} title */
function escapeCell(title) {
  return title
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll(/[\\|*_`]/g, '\\$&')
    .replaceAll('\n', ' ')
}

/**
 * @param {string} markdown
 * @returns {Row[]}
 */
function parseRows(markdown) {
  const lines = markdown.split('\n')
  const [start, end] = [lines.indexOf(START), lines.indexOf(END)]
  if (start < 0 || end < start) throw new Error(`the table stands between ${START} and ${END}`)
  return lines.slice(start, end).flatMap((text, index) => {
    const [, number, side, behaviour, status] = text.split(/(?<!\\)\|/).map((cell) => cell.trim())
    if (number === undefined || !/^[0-9]+$/.test(number)) return []
    return [
      {
        line: start + index,
        number: Number(number),
        side: side ?? '',
        behaviour: behaviour ?? '',
        status: status ?? '',
      },
    ]
  })
}

/** @param {Row} row */
function tokenOf({ side, number }) {
  return `${side}${number}`
}

/**
 * Title of a call of `it` or `test`, whatever modifiers stand between; placeholders of templates as an ellipsis.
 * @param {Record<string, any>} node
 * @returns {string | undefined}
 */
function titleOf(node) {
  if (node.type !== 'CallExpression') return undefined
  const modifiers = []
  let callee = node.callee
  while (callee.type !== 'Identifier') {
    if (callee.type === 'MemberExpression') modifiers.push(callee.property.name)
    callee = callee.object ?? callee.callee ?? callee.tag
    if (callee === undefined) return undefined
  }
  if (callee.name !== 'it' && callee.name !== 'test') return undefined
  if (modifiers.includes('skip') || modifiers.includes('todo')) return undefined
  return textOf(node.arguments[0])
}

/**
 * @param {Record<string, any> | undefined} node
 * @returns {string | undefined}
 */
function textOf(node) {
  if (node?.type === 'Literal' && typeof node.value === 'string') return node.value
  if (node?.type === 'TemplateLiteral') {
    return node.quasis.map((/** @type {{ value: { cooked: string } }} */ { value }) => value.cooked).join('…')
  }
  return undefined
}

/**
 * Calls `act` with every node of a tree, in the order of the source.
 * @param {unknown} node
 * @param {(node: Record<string, any>) => void} act
 */
function visit(node, act) {
  if (typeof node !== 'object' || node === null) return
  if ('type' in node) act(node)
  for (const child of Object.values(node)) visit(child, act)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = fileURLToPath(new URL('../docs/protocol.md', import.meta.url))
  const tests = collectTests(fileURLToPath(new URL('../test', import.meta.url)))
  const markdown = readFileSync(file, 'utf8')
  writeFileSync(file, renderTable(markdown, tests))
  const problems = protocolProblems(markdown, tests)
  for (const problem of problems) console.error(problem)
  console.log(`${relative(process.cwd(), file)}: ${tests.length} numbered tests, ${problems.length} problems`)
  process.exitCode = problems.length === 0 ? 0 : 1
}
