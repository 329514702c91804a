import { decisivePattern, explained, PatternList, type Subject } from './patterns.js'

/** A rule for the option `authorize`, made of patterns. Its verdict is there at once, so that a rule of your own can ask it. */
export type PatternRule = (request: Subject) => boolean

/**
 * Ready-made rules for the option `authorize`. They judge what is asked for, before DNS: a name against names, an address
 * against addresses, `*` against both. See `parsePattern` for what a pattern is.
 *
 * Ports count for CONNECT and for UDP; those of BIND and of look-ups are noise. A peer that has connected for a BIND matches
 * by its own address or by what the client had asked for. BIND for any peer is a request for the address 0.0.0.0 or `::`.
 */
export const authorize = {
  /** Admits what one of the patterns matches, and nothing else. @throws TypeError `ERR_INVALID_ARG_VALUE` for what is no pattern. */
  allow: (patterns: readonly string[]): PatternRule => patternRule('allow', patterns),
  /**
   * Denies what one of the patterns matches, and nothing else; an IPv6 address that carries an IPv4 one (NAT64, 6to4) counts
   * as both. A name is not known by its address here: what must not be reached is for `egress` to deny.
   * @throws TypeError `ERR_INVALID_ARG_VALUE` for what is no pattern.
   */
  deny: (patterns: readonly string[]): PatternRule => patternRule('deny', patterns),
} as const

function patternRule(verb: 'allow' | 'deny', patterns: readonly string[]): PatternRule {
  const list = new PatternList(patterns)
  const rule: PatternRule = (request) => (decisivePattern(verb, list, request) !== undefined) === (verb === 'allow')
  return explained(rule, verb, (request) => {
    const pattern = decisivePattern(verb, list, request)
    return pattern === undefined ? verb : `${verb} ${pattern}`
  })
}
