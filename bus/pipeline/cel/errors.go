package cel

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
)

// A CompileError says where an expression is wrong.
type CompileError struct {
	Line, Column int // from 1, in characters
	Reason       string
}

func (e *CompileError) Error() string { return position(e.Line, e.Column) + e.Reason }

// An EvalError says where an expression failed for an event.
type EvalError struct {
	Line, Column int // from 1, in characters; 0 is unknown
	Reason       string
}

func (e *EvalError) Error() string { return position(e.Line, e.Column) + e.Reason }

func position(line, column int) string {
	switch {
	case line == 0:
		return ""
	case line == 1:
		return fmt.Sprintf("column %d: ", column)
	}
	return fmt.Sprintf("line %d, column %d: ", line, column)
}

func tooLong() error {
	return &CompileError{Line: 1, Column: 1, Reason: fmt.Sprintf("the expression is too long: %d characters are allowed", MaxLength)}
}

// maxReason is the longest reason, in bytes: it goes into a status.
const maxReason = 512

// compileError is the first thing that is wrong.
func compileError(issues *cel.Issues) error {
	all := issues.Errors()
	if len(all) == 0 {
		return &CompileError{Line: 1, Column: 1, Reason: shorten(issues.Err().Error())}
	}
	first := all[0]
	reason := strings.TrimPrefix(first.Message, "Syntax error: ")
	if strings.HasPrefix(reason, "expression code point size exceeds limit") {
		return tooLong()
	}
	reason = strings.ReplaceAll(reason, " (in container '')", "")
	if strings.HasPrefix(reason, "undeclared reference to") && !strings.Contains(reason, "_") {
		reason += ": the variables are event, node and now"
	}
	line, column := first.Location.Line(), first.Location.Column()
	if line < 1 {
		line, column = 1, 0
	}
	return &CompileError{Line: line, Column: column + 1, Reason: shorten(reason)}
}

// shorten makes one short line of text.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	return s
}
