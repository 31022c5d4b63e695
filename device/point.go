package device

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// point is one property of a device as its worker drives it. The worker's goroutine owns it.
type point struct {
	name      string
	model     *schema.ModelProperty // nil if the model does not have it
	transform *Transform            // nil if it contradicts itself: the property is not read or written
	collect   time.Duration
	report    time.Duration // 0 reports each reading
	onChange  bool
	deadBand  float64
	writable  bool

	due    time.Time // of the next reading
	failed int       // readings in a row that gave no value

	held       string // the newest value that is not due to be reported
	isHeld     bool
	pending    string // a value to report
	isPending  bool
	reported   string // the value that was pending last
	reportedAt time.Time

	applied    string // the desired value that the device has taken since it was opened
	isApplied  bool
	rejected   string // a desired value that can never be written
	isRejected bool
	writes     attempts // at writing the desired value

	readProblem, writeProblem, linkProblem problem
}

// newPoints makes the points of a device. All that is said of properties is read here, once.
func newPoints(cfg Config, dev Instance) []*point {
	points := make([]*point, 0, len(dev.Spec.Properties))
	for i := range dev.Spec.Properties {
		spec := &dev.Spec.Properties[i]
		p := &point{name: spec.Name, model: dev.Model.Property(spec.Name), collect: spec.Collect(), report: spec.Report(), writable: dev.Writable(spec.Name)}
		if p.collect <= 0 {
			p.collect = cfg.CollectCycle
		}
		var err error
		if p.transform, err = NewTransform(p.model, spec.Visitors); err != nil {
			p.transform, p.readProblem = nil, problemOf("InvalidModel", err)
		}
		if p.model != nil && p.model.Transform != nil {
			t := p.model.Transform
			p.onChange = t.OnChange || t.DeadBand != ""
			if t.DeadBand != "" {
				if p.deadBand, err = parseFloat(t.DeadBand); err != nil || p.deadBand < 0 {
					p.transform, p.readProblem = nil, problem{"InvalidModel", fmt.Sprintf("transform.deadBand: %q must be a number, not below 0", t.DeadBand)}
				}
			}
		}
		points = append(points, p)
	}
	return points
}

// reportDue is when a value may be reported: now (the zero time), or at the end of a cycle.
func (p *point) reportDue(value string) time.Time {
	switch {
	case p.reportedAt.IsZero():
		return time.Time{}
	case p.onChange && p.changed(value):
		return time.Time{}
	case p.onChange && p.report <= 0:
		return p.reportedAt.Add(max(p.collect, Heartbeat)) // an older value counts as stale
	case p.report > 0:
		return p.reportedAt.Add(p.report)
	}
	return time.Time{}
}

// changed reports whether a value differs from the one last reported by more than the dead band.
func (p *point) changed(value string) bool {
	if value == p.reported {
		return false
	}
	a, err1 := parseFloat(value)
	b, err2 := parseFloat(p.reported)
	return err1 != nil || err2 != nil || math.Abs(a-b) > p.deadBand
}

// take keeps a new value until it is due.
func (p *point) take(value string) { p.held, p.isHeld = value, true }

// release makes the held value pending.
func (p *point) release(now time.Time) {
	p.pending, p.isPending = p.held, true
	p.reported, p.reportedAt = p.held, now
	p.held, p.isHeld = "", false
}

// checkWrite says why a value cannot be written: it is of another type, or breaks a limit.
func (p *point) checkWrite(value string) error {
	return errors.Join(p.check(value), p.checkLimits(value))
}

// check says why a value is not one of the property's type.
func (p *point) check(value string) error {
	if p.model == nil {
		return checkType(schema.TypeString, value)
	}
	return checkType(p.model.Type, value)
}

// checkLimits says which limit of the model a value breaks.
func (p *point) checkLimits(value string) error {
	switch {
	case p.model == nil || !isNumber(p.model.Type):
	case p.model.Minimum != "" && less(value, p.model.Minimum):
		return fmt.Errorf("value %.80q is below the model's minimum %s", value, p.model.Minimum)
	case p.model.Maximum != "" && less(p.model.Maximum, value):
		return fmt.Errorf("value %.80q is above the model's maximum %s", value, p.model.Maximum)
	}
	return nil
}

// equal reports whether two texts are one value of the property's type: "20" and "20.0" are for
// a number.
func (p *point) equal(a, b string) bool {
	if a == b {
		return true
	}
	return p.model != nil && isNumber(p.model.Type) && !less(a, b) && !less(b, a) && checkType(schema.TypeFloat, a) == nil && checkType(schema.TypeFloat, b) == nil
}

// same reports whether two values are one to the device, which may hold fewer digits.
func (p *point) same(a, b string) bool { return p.equal(a, b) || p.transform.same(a, b) }

// same reports whether two values become one raw value.
func (t *Transform) same(a, b string) bool {
	if t == nil || t.plain() && t.visitor == nil && t.size == 0 {
		return false
	}
	x, err1 := t.encode(a, t.bytesScale())
	y, err2 := t.encode(b, t.bytesScale())
	if err1 != nil || err2 != nil {
		return false
	}
	if t.raw == schema.RawFloat32 {
		f, _ := x.Float32()
		g, _ := y.Float32()
		return f == g
	}
	if t.raw != "" && !isFloat(t.raw) || t.mask != 0 || t.typ == schema.TypeInt {
		return round(x).Cmp(round(y)) == 0
	}
	return x.Cmp(y) == 0
}

func isNumber(t schema.Type) bool {
	return t == schema.TypeInt || t == schema.TypeFloat || t == schema.TypeDouble
}

// less compares two numbers, integers as such: 64 bits do not fit into a float. It is false if
// either is none.
func less(a, b string) bool {
	i, errI := strconv.ParseInt(a, 10, 64)
	j, errJ := strconv.ParseInt(b, 10, 64)
	if errI == nil && errJ == nil {
		return i < j
	}
	x, errX := parseFloat(a)
	y, errY := parseFloat(b)
	return errX == nil && errY == nil && x < y
}

// parseFloat reads a finite decimal number.
func parseFloat(text string) (float64, error) {
	if len(text) > 512 || strings.ContainsAny(text, "/_xXpP") {
		return 0, fmt.Errorf("%.80q is not a decimal number", text)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%.80q is not a finite number of 64 bits", text)
	}
	return f, nil
}

// parseNumber reads a finite decimal number exactly.
func parseNumber(text string) (*big.Rat, error) {
	f, err := parseFloat(text)
	if err != nil {
		return nil, err
	}
	if f == 0 {
		return new(big.Rat), nil // of "1e-999999999" too, which would take long below
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("%.80q is not a decimal number", text)
	}
	return r, nil
}
