package device

import (
	"context"
	"fmt"
	"strings"
)

// Condition is what a user must know of a device, in the words of Kubernetes' conditions.
type Condition struct {
	Type    string // one of the constants below
	Status  bool   // true is as it should be
	Reason  string // one word for programs
	Message string // for people; empty if Status is true
}

// The types of conditions, and the reasons that each has when its status is false.
const (
	// ConditionEnabled: Disabled.
	ConditionEnabled = "Enabled"
	// ConditionConnected: OpenFailed, SecretMissing, ConnectionFailed (a connection that
	// devices share), NothingReadable, SubscribeFailed, DriverPanicked, DriverStuck.
	ConditionConnected = "Connected"
	// ConditionValuesValid: ReadFailed, InvalidValue (of another type, NaN, does not fit the
	// transform), OutOfRange (of the model; it is reported all the same), Refused (by the
	// Link), InvalidModel (a transform that contradicts itself).
	ConditionValuesValid = "ValuesValid"
	// ConditionDesiredApplied: WriteFailed, NotTaken (the device was written and has another
	// value), InvalidValue, OutOfRange, NotInModel.
	ConditionDesiredApplied = "DesiredApplied"
)

// ConditionLink is a Link that also passes on conditions.
type ConditionLink interface {
	Link
	// Conditions reports conditions of a device, of which it has at most one of a type; others
	// that were reported before stay. The error is as that of Report.
	Conditions(ctx context.Context, device string, conditions []Condition) error
}

// problem is why something of a property is not as it should be; the zero value is no problem.
type problem struct{ reason, message string }

func problemOf(reason string, err error) problem { return problem{reason, err.Error()} }

// listed is how many properties a condition names.
const listed = 3

// setConditions brings the conditions about properties up to date.
func (w *worker) setConditions() {
	w.setCondition(ConditionValuesValid, func(p *point) problem {
		if p.readProblem.reason == "" {
			return p.linkProblem
		}
		return p.readProblem
	})
	w.setCondition(ConditionDesiredApplied, func(p *point) problem { return p.writeProblem })
}

func (w *worker) setCondition(typ string, of func(*point) problem) {
	c := Condition{Type: typ, Status: true, Reason: "Valid"}
	if typ == ConditionDesiredApplied {
		c.Reason = "Applied"
	}
	n := 0
	var messages []string
	for _, p := range w.points {
		problem := of(p)
		if problem.reason == "" {
			continue
		}
		if n++; n == 1 {
			c.Status, c.Reason = false, problem.reason
		}
		if n <= listed {
			messages = append(messages, p.name+": "+problem.message)
		}
	}
	if n > listed {
		messages = append(messages, fmt.Sprintf("and %d more properties", n-listed))
	}
	c.Message = strings.Join(messages, "; ")
	w.condition(c)
}

// condition keeps a condition for flush unless it is as it was.
func (w *worker) condition(c Condition) {
	if len(c.Message) > 1024 {
		c.Message = strings.ToValidUTF8(c.Message[:1024], "")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conditions[c.Type] == c {
		return
	}
	w.conditions[c.Type] = c
	if _, ok := w.cfg.Link.(ConditionLink); ok {
		w.unsent[c.Type] = c
	}
}
