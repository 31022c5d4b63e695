package dmi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/twin"
)

// origin marks the engine calls that come from here.
const origin = "dmi"

// ReportDeviceStatus stores the values that a device has.
func (s service) ReportDeviceStatus(ctx context.Context, r *v1beta1.ReportDeviceStatusRequest) (*v1beta1.Empty, error) {
	m := s.Manager
	id, release, err := m.admit(r.DeviceNamespace, r.DeviceName)
	if err != nil {
		return nil, err
	}
	defer release()
	patches := patchesOf(r.ReportedDevice)
	if len(patches) == 0 {
		return new(v1beta1.Empty), nil // only what the mapper has seen
	}
	commit, err := m.cfg.Engine.Do(ctx, twin.Call{Device: id, Request: twin.Update{Twins: patches}, Origin: origin})
	m.countUntimed(commit, patches)
	if len(patches) > 1 && !whole(ctx) && isRefused(err) && !errors.Is(err, &twin.Error{Code: twin.CodeUnknown}) {
		err = m.reportEach(ctx, id, patches)
	}
	return m.answer(err)
}

// ReportDeviceStates stores the state of a device.
func (s service) ReportDeviceStates(ctx context.Context, r *v1beta1.ReportDeviceStatesRequest) (*v1beta1.Empty, error) {
	m := s.Manager
	id, release, err := m.admit(r.DeviceNamespace, r.DeviceName)
	if err != nil {
		return nil, err
	}
	defer release()
	_, err = m.cfg.Engine.Do(ctx, twin.Call{Device: id, Request: twin.SetState{State: r.State, Within: within(ctx)}, Origin: origin})
	return m.answer(err)
}

// reported returns the ID of the device of a report.
func reported(namespace, name string) (string, error) {
	if name == "" {
		return "", status.Error(codes.InvalidArgument, "deviceName is empty: name the device")
	}
	id := v1beta1.ID(namespace, name)
	if err := twin.CheckID(id); err != nil {
		return "", status.Error(codes.InvalidArgument, "deviceNamespace and deviceName: "+err.Error())
	}
	return id, nil
}

// within is how long the state holds without another report, as mappers of edgekit say in the
// metadata of the call.
func within(ctx context.Context) time.Duration {
	values := metadata.ValueFromIncomingContext(ctx, v1beta1.HeaderWithin)
	if len(values) == 0 {
		return 0
	}
	ms, err := strconv.ParseInt(values[0], 10, 32)
	if err != nil || ms < 0 {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

// whole reports whether the values of a report are to be stored all or none.
func whole(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, v1beta1.HeaderWhole)) > 0
}

// admit returns the ID of the device of a report, and counts the report as in work until release
// is called. The error names the field or the limit.
func (m *Manager) admit(namespace, deviceName string) (id string, release func(), err error) {
	if id, err = reported(namespace, deviceName); err != nil {
		return "", nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.checkDrivesLocked(id); err != nil {
		return "", nil, err
	}
	name := ""
	if p := m.owners[id]; p != nil {
		name = p.info.Name
	}
	if m.inWork[name] >= m.cfg.Reports {
		m.exhausted.Add(1)
		return "", nil, status.Errorf(codes.ResourceExhausted, "mapper %q has %d reports in work, which is the limit (Config.Reports): report again when they are done", name, m.cfg.Reports)
	}
	m.inWork[name]++
	return id, func() {
		m.mu.Lock()
		if m.inWork[name]--; m.inWork[name] == 0 {
			delete(m.inWork, name)
		}
		m.mu.Unlock()
	}, nil
}

// patchesOf reads the reported values. Parts that are missing say nothing.
func patchesOf(s *v1beta1.DeviceStatus) map[string]*twin.Patch {
	if s == nil {
		return nil
	}
	patches := make(map[string]*twin.Patch, len(s.Twins))
	for _, t := range s.Twins {
		if t == nil || t.Reported == nil || t.Reported.Value == "" && len(t.Reported.Metadata) == 0 {
			continue
		}
		p := &twin.Patch{Actual: &t.Reported.Value}
		if typ := strings.ToLower(t.Reported.Metadata["type"]); twin.CheckType(typ) == nil {
			p.Type = typ
		}
		if text := t.Reported.Metadata["timestamp"]; text != "" {
			var err error
			if p.Measured, err = strconv.ParseInt(text, 10, 64); err != nil || p.Measured == 0 {
				p.Measured = -1 // no time that the engine keeps
			}
		}
		patches[t.PropertyName] = p
	}
	return patches
}

// reportEach stores each value by itself: one that is refused does not stop the others. The
// error is that of the values that were refused.
func (m *Manager) reportEach(ctx context.Context, id string, patches map[string]*twin.Patch) error {
	calls := make([]twin.Call, 0, len(patches))
	for _, name := range slices.Sorted(maps.Keys(patches)) {
		calls = append(calls, twin.Call{Device: id, Request: twin.Update{Twins: map[string]*twin.Patch{name: patches[name]}}, Origin: origin})
	}
	commits, err := m.cfg.Engine.DoAll(ctx, calls)
	for _, c := range commits {
		m.countUntimed(c, patches)
	}
	if isRefused(err) {
		return fmt.Errorf("the other values are stored: %w", err)
	}
	return err
}

// countUntimed counts the values that were stored without the time that their mapper gave.
func (m *Manager) countUntimed(c twin.Commit, patches map[string]*twin.Patch) {
	for _, effect := range c.Effects {
		r, ok := effect.(twin.Result)
		if !ok {
			continue
		}
		for name, t := range r.Twins {
			if t != nil && t.Actual != nil && patches[name].Measured != 0 && t.Actual.Measured == 0 {
				m.untimed.Add(1)
			}
		}
	}
}

func isRefused(err error) bool {
	var e *twin.Error
	return errors.As(err, &e)
}

// answer turns the engine's error into one of gRPC, and counts.
func (m *Manager) answer(err error) (*v1beta1.Empty, error) {
	if err == nil {
		m.reports.Add(1)
		return new(v1beta1.Empty), nil
	}
	var e *twin.Error
	if !errors.As(err, &e) {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	m.refused.Add(1)
	code := codes.InvalidArgument
	switch e.Code {
	case twin.CodeForbidden:
		code = codes.PermissionDenied
	case twin.CodeUnknown:
		code = codes.NotFound
	case twin.CodeConflict:
		code = codes.Aborted
	case twin.CodeTooLarge:
		code = codes.FailedPrecondition
	case twin.CodeInternal:
		code = codes.Unavailable
	}
	return nil, status.Error(code, err.Error())
}
