package devicesync

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
)

// ConditionDesiredValid is the condition that a DeviceStatus gets when a desired value of its
// Device is not valid; False then, with the reason WrongType, OutOfRange, NotAllowed (the
// property is ReadOnly, or only clients on the node may set it) or NotInModel.
const ConditionDesiredValid = "DesiredValid"

// plan says when the report of each device is due. One goroutine owns it.
type plan struct {
	due    map[string]time.Time            // when a device is to be checked
	last   map[string]time.Time            // when a device was last reported
	values map[string]map[string]time.Time // when a property's value was last reported
	// interval is the least time between two reports of a device that the due times
	// were computed with.
	interval time.Duration
}

// reportStatuses reports devices when they are due.
func (s *Syncer) reportStatuses(ctx context.Context) error {
	select {
	case <-s.synced:
	case <-ctx.Done():
		return nil
	}
	p := &plan{due: make(map[string]time.Time), last: make(map[string]time.Time), values: make(map[string]map[string]time.Time)}
	if err := s.markAllDirty(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.dirty.wake:
			interval := s.reportInterval()
			if interval < p.interval { // the link is back: the due times were computed with the longer interval
				for id := range p.due {
					p.schedule(id, p.last[id].Add(interval))
				}
			}
			p.interval = interval
			for _, id := range s.dirty.takeAll() {
				p.schedule(id, p.last[id].Add(interval))
			}
		case <-timer.C:
		}
		now := time.Now()
		for id, at := range p.due {
			if at.After(now) {
				continue
			}
			delete(p.due, id)
			if err := s.report(ctx, p, id, now); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				if errors.Is(err, net.ErrClosed) {
					return err
				}
				s.warn("device cannot be reported, trying again", "device", id, "err", err)
				p.schedule(id, now.Add(retry))
			}
		}
		timer.Reset(p.next(now))
	}
}

// schedule makes a device due at the given time, or earlier if it is already.
func (p *plan) schedule(id string, at time.Time) {
	if due, ok := p.due[id]; !ok || at.Before(due) {
		p.due[id] = at
	}
}

func (p *plan) next(now time.Time) time.Duration {
	rest := time.Hour
	for _, at := range p.due {
		rest = min(rest, at.Sub(now))
	}
	return max(rest, 0)
}

// markAllDirty marks all devices, and the devices of all reports in the outbox.
func (s *Syncer) markAllDirty(ctx context.Context) error {
	for _, d := range s.cfg.Engine.Devices() {
		s.dirty.add(d.ID)
	}
	records, _, err := s.cfg.Store.Keys(ctx, meta.Up+statuses+"/")
	if err != nil {
		return err
	}
	for _, r := range records {
		if key, ok := meta.ParsePath(strings.TrimPrefix(r.Key, meta.Up)); ok {
			s.dirty.add(key.Namespace + "/" + key.Name)
		}
	}
	return nil
}

// report brings the outbox in line with one device.
func (s *Syncer) report(ctx context.Context, p *plan, id string, now time.Time) error {
	d, ok := s.cfg.Engine.Device(id)
	if !ok || d.Member.Owner != owner {
		delete(p.last, id)
		delete(p.values, id)
		return s.forget(ctx, id)
	}
	key := meta.Key{Resource: statuses, Namespace: d.Namespace(), Name: d.Name()}
	var held v1beta1.DeviceStatusStatus
	var body []byte
	r, err := s.cfg.Store.Get(ctx, meta.Up+key.Path())
	switch {
	case errors.Is(err, meta.ErrNotFound):
	case err != nil:
		return err
	default:
		if o, err := meta.DecodeObject(meta.Up, r); err == nil && !o.Deleted {
			body = o.Body
			if jsonlimit.Unmarshal(body, &held) != nil {
				held = v1beta1.DeviceStatusStatus{} // it is replaced
			}
		}
	}
	next, err := s.status(ctx, p, d, held, now)
	if err != nil {
		return err
	}
	out, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if bytes.Equal(out, body) {
		return nil
	}
	if err := s.cfg.Reporter.Update(ctx, meta.Object{Key: key, Body: out}); err != nil {
		return err
	}
	p.last[id] = now
	return nil
}

// forget removes the report of a deleted device from the outbox.
func (s *Syncer) forget(ctx context.Context, id string) error {
	namespace, name, _ := strings.Cut(id, "/")
	path := meta.Key{Resource: statuses, Namespace: namespace, Name: name}.Path()
	if _, err := s.cfg.Store.Get(ctx, meta.Up+path); err != nil {
		if errors.Is(err, meta.ErrNotFound) {
			return nil
		}
		return err
	}
	_, err := s.cfg.Store.Apply(ctx, meta.Op{Key: meta.Up + path, Delete: true}, meta.Op{Key: meta.Acked + path, Delete: true})
	return err
}

// status computes the report of a device. A value that changed in its timestamp
// only is copied from held, so that it makes no new report.
func (s *Syncer) status(ctx context.Context, p *plan, d twin.Device, held v1beta1.DeviceStatusStatus, now time.Time) (v1beta1.DeviceStatusStatus, error) {
	var spec schema.DeviceSpec
	if err := jsonlimit.Unmarshal(d.Member.Spec, &spec); err != nil {
		return held, fmt.Errorf("spec of %s: %w", d.ID, err)
	}
	next := v1beta1.DeviceStatusStatus{ObservedGeneration: int64(d.Member.Version)}
	if spec.StateReport == nil || spec.StateReport.ReportToCloud {
		next.State = d.State
		if !d.LastOnline.IsZero() {
			next.LastOnlineTime = d.LastOnline.UTC().Format(time.RFC3339)
		}
		if next.State == held.State && next.LastOnlineTime != "" && held.LastOnlineTime != "" {
			next.LastOnlineTime = held.LastOnlineTime
		}
	}
	for _, property := range spec.Properties {
		t, ok := d.Twins[property.Name]
		if !property.ReportToCloud || !ok || t.Deleted {
			continue
		}
		entry := schema.Twin{PropertyName: property.Name}
		var before schema.Twin
		for _, h := range held.Twins {
			if h.PropertyName == property.Name {
				before = h
			}
		}
		entry.ObservedDesired = newer(before.ObservedDesired, t.Expected, t.Type)
		entry.Reported = newer(before.Reported, t.Actual, t.Type)
		if entry.Reported != before.Reported && entry.Reported != nil {
			entry.Reported = p.limitByCycle(d.ID, property, before.Reported, entry.Reported, now)
		}
		if entry.Reported != nil || entry.ObservedDesired != nil {
			next.Twins = append(next.Twins, entry)
		}
	}
	next.Conditions = append(s.conditions(ctx, d, held), mapperConditions(d)...)
	return next, nil
}

// limitByCycle returns the value of a property to report: the new one, or the one
// before while its reportCycle lasts.
func (p *plan) limitByCycle(id string, property schema.Property, before, value *schema.Value, now time.Time) *schema.Value {
	if p.values[id] == nil {
		p.values[id] = make(map[string]time.Time)
	}
	next := p.values[id][property.Name].Add(property.Report())
	if before != nil && property.Report() > 0 && now.Before(next) {
		p.schedule(id, next)
		return before
	}
	p.values[id][property.Name] = now
	return value
}

// newer returns before if v has the same text, else a new value. The metadata of a value that
// breaks a limit of the model has the limit as "fault". It has "measured" if the mapper says when it
// read the value.
func newer(before *schema.Value, v *twin.Value, typ string) *schema.Value {
	switch {
	case v == nil:
		return nil
	case before != nil && before.Value == v.Value && before.Metadata["fault"] == v.Fault:
		return before
	}
	metadata := map[string]string{"timestamp": strconv.FormatInt(v.Time, 10), "type": typ}
	if v.Measured != 0 {
		metadata["measured"] = strconv.FormatInt(v.Measured, 10)
	}
	if v.Fault != "" {
		metadata["fault"] = v.Fault
	}
	return &schema.Value{Value: v.Value, Metadata: metadata}
}

// mapperConditions returns the conditions that the device's mapper has reported. Their types are
// other ones than those of this package and of package v1beta1.
func mapperConditions(d twin.Device) []metav1.Condition {
	list := make([]metav1.Condition, 0, len(d.Conditions))
	for _, c := range d.Conditions {
		if c.Type == ConditionDesiredValid || c.Type == v1beta1.ConditionModelFound {
			continue
		}
		status := metav1.ConditionFalse
		if c.Status {
			status = metav1.ConditionTrue
		}
		list = append(list, metav1.Condition{
			Type: c.Type, Status: status, Reason: c.Reason, Message: c.Message,
			LastTransitionTime: metav1.NewTime(c.Time), ObservedGeneration: int64(d.Member.Version),
		})
	}
	return list
}

// desiredValid returns the condition of this package.
func desiredValid(held []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(held), func(c metav1.Condition) bool { return c.Type != ConditionDesiredValid })
}

// conditions returns the node's conditions. A Device whose desired values were
// always valid has none.
func (s *Syncer) conditions(ctx context.Context, d twin.Device, held v1beta1.DeviceStatusStatus) []metav1.Condition {
	c := metav1.Condition{Type: ConditionDesiredValid, Status: metav1.ConditionTrue, Reason: "Valid", ObservedGeneration: int64(d.Member.Version)}
	r, err := s.cfg.Store.Get(ctx, meta.Down+meta.Key{Resource: devices, Namespace: d.Namespace(), Name: d.Name()}.Path())
	if err != nil {
		return desiredValid(held.Conditions) // the Device is being removed
	}
	var dev v1beta1.Device
	if o, err := meta.DecodeObject(meta.Down, r); err != nil || jsonlimit.Unmarshal(o.Body, &dev) != nil {
		return desiredValid(held.Conditions)
	}
	if bad, reason := invalid(dev.Spec, d); len(bad) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, reason, strings.Join(bad, "; ")
	}
	for _, h := range held.Conditions {
		if h.Type != ConditionDesiredValid {
			continue
		}
		if h.Status == c.Status && h.Message == c.Message {
			return []metav1.Condition{h}
		}
		c.LastTransitionTime = metav1.NewTime(s.cfg.Now().UTC().Truncate(time.Second))
		return []metav1.Condition{c}
	}
	if c.Status == metav1.ConditionTrue {
		return nil
	}
	c.LastTransitionTime = metav1.NewTime(s.cfg.Now().UTC().Truncate(time.Second))
	return []metav1.Condition{c}
}
