package cel

import (
	"fmt"
	"regexp/syntax"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// A pattern of a few hundred characters can take hundreds of megabytes when it is compiled.
const (
	maxPattern = 1024   // bytes
	maxRepeats = 10_000 // characters and groups, each as often as it is repeated
)

// patterns are the functions with a pattern: it is their second argument, where the target of
// a method is the first.
var patterns = set("matches", "regex.extract", "regex.extractAll", "regex.replace")

// patternFits says whether a pattern may be compiled. One that is malformed may: the compiler
// refuses it.
func patternFits(pattern string) bool {
	if len(pattern) > maxPattern {
		return false
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	return err != nil || repeats(re) <= maxRepeats
}

func repeats(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n += repeats(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxRepeats+1)
}

// patternGuard is a guard for functions with a pattern.
func patternGuard(args []ref.Val) bool {
	pattern, ok := args[1].(types.String)
	return !ok || patternFits(string(pattern))
}

// checkPatterns refuses the patterns that are written in an expression before any is compiled.
func checkPatterns(parsed *cel.Ast) error {
	var wrong error
	info := parsed.NativeRep().SourceInfo()
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if wrong != nil || e.Kind() != ast.CallKind {
			return
		}
		for _, arg := range e.AsCall().Args() {
			if arg.Kind() != ast.LiteralKind || !hasPattern(e.AsCall()) {
				continue
			}
			if s, ok := arg.AsLiteral().(types.String); ok && !patternFits(string(s)) {
				at := info.GetStartLocation(arg.ID())
				wrong = &CompileError{Line: at.Line(), Column: at.Column() + 1, Reason: fmt.Sprintf("the pattern is too large: %d characters are allowed, and %d with repetitions", maxPattern, maxRepeats)}
			}
		}
	}))
	return wrong
}

// hasPattern says whether a call is one of patterns. Before types are checked, regex.extract is
// the method extract of regex.
func hasPattern(c ast.CallExpr) bool {
	name := c.FunctionName()
	if c.IsMemberFunction() && c.Target().Kind() == ast.IdentKind {
		if patterns[c.Target().AsIdent()+"."+name] {
			return true
		}
	}
	return patterns[name]
}
