package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// The codes of a CallError, with the meaning that they have in HTTP.
const (
	CodeInvalid     = 400 // the parameters are wrong
	CodeUnknown     = 404 // the device has no such method
	CodeFailed      = 500 // the device or its driver has failed
	CodeUnavailable = 503 // the device is not open
	CodeTimeout     = 504 // the deadline has passed; the method may have run
)

// CallError says why a method of a device gave no result.
type CallError struct {
	Code   int    // one of the constants
	Reason string // for people
}

func (e *CallError) Error() string { return fmt.Sprintf("device: code %d: %s", e.Code, e.Reason) }

// ErrNotDriven says that a device is not one of this mapper's.
var ErrNotDriven = errors.New("device: the device is not one of this mapper's")

// MethodLink is a Link over which others call the methods of devices.
type MethodLink interface {
	Link
	// ServeMethods passes calls to handle until ctx ends, and then returns nil. handle may be
	// called by several goroutines at once. It returns a *CallError, or ErrNotDriven for a
	// device that another mapper may drive: then nothing is answered.
	ServeMethods(ctx context.Context, handle MethodHandler) error
}

// MethodHandler runs a method of a device with parameters and returns its result, before the
// deadline of ctx. Mapper.Call is one.
type MethodHandler func(ctx context.Context, device, method string, parameters schema.Options) (schema.Options, error)

// methodCall is a call on its way to a worker.
type methodCall struct {
	ctx        context.Context // of the one who waits
	method     string
	parameters schema.Options
	results    chan<- answer[schema.Options] // has room
}

func (c methodCall) refuse(err *CallError) { c.results <- answer[schema.Options]{err: err} }

// Call runs a method of a device and returns its result: an object in JSON, or nothing. A
// method that the driver does not know itself writes its parameters to properties of their
// names, and returns the values of the properties that it names in the device's spec. A call
// waits until the device does nothing else. ctx bounds it, and so does Config.Timeout. The error
// is ErrNotDriven or a *CallError. After CodeTimeout and CodeFailed the method may have run.
func (m *Mapper) Call(ctx context.Context, device, method string, parameters schema.Options) (result schema.Options, err error) {
	defer func() { count(&m.counts.calls, &m.counts.callErrors, err) }()
	m.mu.Lock()
	w := m.workers[device]
	m.mu.Unlock()
	if w == nil {
		return nil, ErrNotDriven
	}
	results := make(chan answer[schema.Options], 1)
	select {
	case w.calls <- methodCall{ctx, method, parameters, results}:
	case <-w.ended:
		return nil, &CallError{CodeUnavailable, "the device is closed"}
	case <-ctx.Done():
		return nil, &CallError{CodeTimeout, "the device was busy until the deadline"}
	}
	select {
	case a := <-results:
		return a.value, a.err
	case <-ctx.Done():
		return nil, &CallError{CodeTimeout, "the device has not answered until the deadline"}
	}
}

// method runs a method of the open device.
func (w *worker) method(ctx context.Context, c methodCall) {
	if c.ctx.Err() != nil {
		c.refuse(&CallError{CodeTimeout, "the deadline has passed"})
		return
	}
	if deadline, ok := c.ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	spec := slices.IndexFunc(w.dev.Spec.Methods, func(m schema.Method) bool { return m.Name == c.method })
	var result schema.Options
	var err error
	if caller, ok := w.driver.(Caller); ok {
		result, err = driverCall(ctx, w, "Call "+c.method, func(ctx context.Context) (schema.Options, error) {
			return caller.Call(ctx, c.method, c.parameters)
		})
		if spec >= 0 { // what it may have changed is read soon
			for _, name := range w.dev.Spec.Methods[spec].PropertyNames {
				if p := w.byName[name]; p != nil {
					p.due = time.Time{}
				}
			}
		}
	} else if spec < 0 {
		err = &CallError{CodeUnknown, fmt.Sprintf("the device has no method %.80q", c.method)}
	} else {
		result, err = w.propertyMethod(ctx, w.dev.Spec.Methods[spec], c.parameters)
	}
	c.results <- answer[schema.Options]{result, w.callError(err)}
}

// callError gives an error a code, and takes the secrets out of it: it leaves this program.
func (w *worker) callError(err error) error {
	if err == nil {
		return nil
	}
	var given *CallError
	code, reason := CodeFailed, err
	switch {
	case errors.As(err, &given):
		code, reason = given.Code, errors.New(given.Reason)
	case errors.Is(err, errInvalid):
		code = CodeInvalid
	case errors.Is(err, context.DeadlineExceeded):
		code = CodeTimeout
	}
	return &CallError{code, redact(reason, w.secrets).Error()}
}

// propertyMethod writes the parameters to properties and reads those that the method names.
func (w *worker) propertyMethod(ctx context.Context, method schema.Method, parameters schema.Options) (schema.Options, error) {
	values := make(map[string]json.RawMessage)
	if err := parameters.Decode(&values); err != nil {
		return nil, &CallError{CodeInvalid, "parameters: " + err.Error()}
	}
	texts := make(map[string]string, len(values))
	for name, raw := range values {
		p := w.byName[name]
		if p == nil || !p.writable || p.transform == nil || !slices.Contains(method.PropertyNames, name) {
			return nil, &CallError{CodeInvalid, fmt.Sprintf("parameter %.80q is not a property of the method that can be written", name)}
		}
		texts[name] = string(raw)
		var text string
		if json.Unmarshal(raw, &text) == nil {
			texts[name] = text
		}
		if err := p.checkWrite(texts[name]); err != nil {
			return nil, &CallError{CodeInvalid, fmt.Sprintf("parameter %.80q: %v", name, err)}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if err := w.write(ctx, w.byName[name], texts[name]); err != nil {
			return nil, err
		}
	}
	result := make(map[string]string)
	for _, name := range method.PropertyNames {
		p := w.byName[name]
		if p == nil {
			continue
		}
		if p.isHeld = false; !w.read(ctx, p) || !p.isHeld {
			return nil, fmt.Errorf("property %s: %s", name, p.readProblem.message)
		}
		result[name] = p.held
	}
	return schema.NewOptions(result)
}
