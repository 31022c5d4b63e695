package twin

import (
	"fmt"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/twin/history"
)

// Rule is what the model of a device says of one property, beside its type. The zero Rule
// allows every value of the type, from the cloud and from the edge.
type Rule struct {
	Minimum  string `json:"minimum,omitempty"`  // the least value of a number, inclusive; empty for none
	Maximum  string `json:"maximum,omitempty"`  // the greatest value of a number, inclusive; empty for none
	ReadOnly bool   `json:"readOnly,omitempty"` // the device has it only to be read: it takes no desired value
	// NotInModel says that the device's model does not have the property: its values are text
	// that nothing is known of.
	NotInModel bool `json:"notInModel,omitempty"`
	// Authority says who may set the desired value.
	Authority Authority `json:"authority,omitempty"`
	// ReportAlways treats a reported value that equals the one before as a change: a
	// document and a report to the cloud follow.
	ReportAlways bool `json:"reportAlways,omitempty"`
	// StaleAfter is the age at which an actual value is no longer good; 0 means never. The age
	// counts from Value.Measured if that is known, else from Value.Time.
	StaleAfter time.Duration `json:"staleAfter,omitempty"`
	// History says how many past actual values are kept, see Engine.History; zero keeps none.
	History history.Limit `json:"history,omitzero"`
}

// isZero reports whether the rule allows everything and asks for nothing.
func (r Rule) isZero() bool { return r == Rule{} }

// Authority says who may set the desired value of a property.
type Authority string

// The authorities.
const (
	Both  Authority = ""      // the cloud and clients on the node; the last one wins
	Cloud Authority = "cloud" // only the device's owner, by Put, and Sync
	Edge  Authority = "edge"  // only clients on the node, by Update
)

// Quality says how far an actual value can be relied on.
type Quality string

// The qualities of an actual value.
const (
	Good  Quality = "good"  // reported, within the model's limits, and not old
	Stale Quality = "stale" // the device is offline or unknown, or the value is older than Rule.StaleAfter
	Bad   Quality = "bad"   // outside of the model's limits; Value.Fault says which
)

// Quality returns the quality of the actual value of a property at the given time; "" if it
// has no actual value.
func (d Device) Quality(property string, now time.Time) Quality {
	t := d.Twins[property]
	switch {
	case t.Deleted || t.Actual == nil:
		return ""
	case t.Actual.Fault != "":
		return Bad
	case isState(d.State, "offline", "unknown"):
		return Stale
	case t.Rule.StaleAfter > 0 && now.Sub(t.Actual.source()) > t.Rule.StaleAfter:
		return Stale
	}
	return Good
}

// CheckLimits says which limit of the rule a value of the given type breaks. Only numbers
// have limits. A limit that is no number, which the schema of a DeviceModel refuses, does not
// count.
func (r Rule) CheckLimits(typ, value string) error {
	if r.Minimum != "" && less(typ, value, r.Minimum) {
		return fmt.Errorf("value %.80q is below the model's minimum %s", value, r.Minimum)
	}
	if r.Maximum != "" && less(typ, r.Maximum, value) {
		return fmt.Errorf("value %.80q is above the model's maximum %s", value, r.Maximum)
	}
	return nil
}

// less compares two numbers of a type; false if either is none. Two integers are compared as
// such, since 64 bits do not fit into a float.
func less(typ, a, b string) bool {
	if !isNumber(typ) {
		return false
	}
	i, errI := strconv.ParseInt(a, 10, 64)
	j, errJ := strconv.ParseInt(b, 10, 64)
	if errI == nil && errJ == nil {
		return i < j
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x < y
}

func isNumber(typ string) bool {
	switch typ {
	case "int", "integer", "float", "double":
		return true
	}
	return false
}

// checkDesired says why value cannot be desired of the twin. The empty value withdraws a
// desired value, whatever the type.
func (t Twin) checkDesired(value string, cloud bool) *Error {
	switch {
	case t.Rule.ReadOnly && value != "":
		return &Error{Code: CodeForbidden, Reason: "the model says that the property is ReadOnly: it takes no expected value"}
	case t.Rule.Authority == Cloud && !cloud:
		return &Error{Code: CodeForbidden, Reason: "only the cloud may set the expected value"}
	case t.Rule.Authority == Edge && cloud:
		return &Error{Code: CodeForbidden, Reason: "only clients on the node may set the expected value"}
	case value == "":
		return nil
	}
	if err := t.checkWritten(value); err != nil {
		return &Error{Code: CodeInvalid, Reason: "expected " + err.Error()}
	}
	return nil
}

// checkWritten says why value cannot be written to the device: it is not of the type, or
// outside of the limits.
func (t Twin) checkWritten(value string) error {
	if err := CheckValue(t.Type, value); err != nil {
		return err
	}
	return t.Rule.CheckLimits(t.Type, value)
}

// CheckDesired says why the device's owner cannot desire value of the twin: it is not of the
// type, outside of the model's limits, the property is ReadOnly, or clients on the node have
// the authority. The error is an *Error.
func (t Twin) CheckDesired(value string) error {
	if err := t.checkDesired(value, true); err != nil {
		return err
	}
	return nil
}
