package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/edgekit/edgekit/twin"
)

// DeviceList is a page of devices, by ID.
type DeviceList struct {
	Devices []Device `json:"devices"`
	Next    string   `json:"next,omitempty"` // the after of the next page
}

// Device is a device with its properties.
type Device struct {
	ID          string              `json:"id"` // namespace/name
	Namespace   string              `json:"namespace"`
	Name        string              `json:"name"`
	Description string              `json:"description,omitempty"`
	State       string              `json:"state,omitempty"`     // as last reported; empty before the first report
	LastOnline  time.Time           `json:"lastOnline,omitzero"` // RFC 3339
	Properties  map[string]Property `json:"properties"`
}

// Property is a property of a device. Desired and Actual are left out where there is none.
type Property struct {
	Type     string `json:"type"`
	Desired  *Value `json:"desired,omitempty"`
	Actual   *Value `json:"actual,omitempty"`
	ReadOnly bool   `json:"readOnly,omitempty"` // it takes no desired value
}

// Value is a desired or an actual value.
type Value struct {
	Value string `json:"value"`
	Time  int64  `json:"time"` // when the node stored it, in milliseconds since 1970
	// Measured is when an actual value was read from the device, in milliseconds since 1970; it is
	// left out if the mapper does not say so.
	Measured int64        `json:"measured,omitempty"`
	Quality  twin.Quality `json:"quality,omitempty"` // of an actual value
	Fault    string       `json:"fault,omitempty"`   // the limit of the model that a bad value breaks
}

// History is a page of past values, the oldest first.
type History struct {
	Entries []HistoryEntry `json:"entries"`
	Next    uint64         `json:"next,omitempty"` // the after of the next page
}

// HistoryEntry is a past value.
type HistoryEntry struct {
	Seq   uint64 `json:"seq"` // grows by one with each value
	Time  int64  `json:"time"`
	Value string `json:"value"`
	Fault string `json:"fault,omitempty"`
}

// Change is the data of an event of a watch. Of a property it has the property's fields too.
type Change struct {
	Device   string `json:"device"`
	Property string `json:"property,omitempty"`
	State    string `json:"state,omitempty"`    // only in the event "device"
	Missed   int    `json:"missed,omitempty"`   // changes that were left out before this one
	Repeated bool   `json:"repeated,omitempty"` // nothing has changed: the parameter heartbeat
	Type     string `json:"type,omitempty"`
	Desired  *Value `json:"desired,omitempty"`
	Actual   *Value `json:"actual,omitempty"`
}

// Error is the answer to a request that is refused. Code is also its status.
type Error struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

func deviceForm(d twin.Device, now time.Time) Device {
	form := Device{
		ID: d.ID, Namespace: d.Namespace(), Name: d.Name(), Description: d.Member.Description,
		State: d.State, LastOnline: d.LastOnline, Properties: make(map[string]Property, len(d.Twins)),
	}
	for _, p := range d.Properties(now) {
		form.Properties[p.Name] = propertyForm(p)
	}
	return form
}

func propertyForm(p twin.Property) Property {
	form := Property{Type: p.Twin.Type, ReadOnly: p.Twin.Rule.ReadOnly}
	if v := p.Twin.Expected; v != nil && v.Value != "" {
		form.Desired = &Value{Value: v.Value, Time: v.Time}
	}
	if v := p.Twin.Actual; v != nil {
		form.Actual = &Value{Value: v.Value, Time: v.Time, Measured: v.Measured, Quality: p.Quality, Fault: v.Fault}
	}
	return form
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // a client that is gone gets nothing
	return nil
}

// fail answers with an error.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client is gone
	}
	form := Error{Code: http.StatusInternalServerError, Reason: err.Error()}
	var refused *twin.Error
	switch {
	case errors.As(err, &refused):
		form = Error{Code: refused.Code, Reason: refused.Reason}
	case errors.Is(err, twin.ErrClosed):
		form.Code = http.StatusServiceUnavailable
	}
	switch form.Code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusInternalServerError:
		h.cfg.Logger.Warn("HTTP request failed", "path", r.URL.Path, "err", err)
	}
	body, err := json.Marshal(form)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(form.Code)
	_, _ = w.Write(append(body, '\n'))
}
