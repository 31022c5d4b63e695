package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/history"
)

// Bounds of requests and answers.
const (
	maxBody     = 1 << 20
	bodyTime    = 30 * time.Second // until a body has come
	listDevices = 100              // in a page, without limit
	maxDevices  = 1000             // in a page
	listBytes   = 4 << 20          // about; a page ends when it has more
)

func invalid(format string, args ...any) error {
	return &twin.Error{Code: twin.CodeInvalid, Reason: fmt.Sprintf(format, args...)}
}

// deviceID is the device that a request's path names. It is an error if the client may not do
// that with it, whether it exists or not.
func (h *Handler) deviceID(r *http.Request, action Action) (string, error) {
	id := r.PathValue("namespace") + "/" + r.PathValue("name")
	if err := twin.CheckID(id); err != nil {
		return "", invalid("%v", err)
	}
	return id, h.authorize(r, id, action)
}

// number reads a parameter, from 0 to most.
func number(query url.Values, name string, most uint64) (uint64, error) {
	text := query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > most {
		return 0, invalid("parameter %s is %.40q: it must be a number from 0 to %d", name, text, most)
	}
	return n, nil
}

func (h *Handler) list(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := number(query, "limit", maxDevices)
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = listDevices
	}
	page, size, now := DeviceList{Devices: []Device{}}, 0, h.cfg.Now()
	namespace, after := query.Get("namespace"), query.Get("after")
	var refused error // if nothing may be read, the client learns why
	for _, d := range h.cfg.Engine.Devices() {
		if d.ID <= after || namespace != "" && d.Namespace() != namespace {
			continue
		}
		if err := h.authorize(r, d.ID, Read); err != nil {
			refused = err
			continue
		}
		if n := len(page.Devices); uint64(n) == limit || size > listBytes {
			page.Next = page.Devices[n-1].ID
			break
		}
		page.Devices = append(page.Devices, deviceForm(d, now))
		for name, t := range d.Twins {
			size += 200 + len(name)
			for _, v := range []*twin.Value{t.Expected, t.Actual} {
				if v != nil {
					size += len(v.Value)
				}
			}
		}
	}
	if coded := new(twin.Error); len(page.Devices) == 0 && errors.As(refused, &coded) && coded.Code == http.StatusUnauthorized {
		return refused
	}
	return answer(w, page)
}

func (h *Handler) device(w http.ResponseWriter, r *http.Request) error {
	id, err := h.deviceID(r, Read)
	if err != nil {
		return err
	}
	d, ok := h.cfg.Engine.Device(id)
	if !ok {
		return &twin.Error{Code: twin.CodeUnknown, Reason: "device " + id + " is not known on this node"}
	}
	return answer(w, deviceForm(d, h.cfg.Now()))
}

func (h *Handler) property(w http.ResponseWriter, r *http.Request) error {
	id, err := h.deviceID(r, Read)
	if err != nil {
		return err
	}
	p, err := h.cfg.Engine.Get(id, r.PathValue("property"))
	if err != nil {
		return err
	}
	return answer(w, propertyForm(p[0]))
}

// desire sets desired values.
func (h *Handler) desire(w http.ResponseWriter, r *http.Request) error {
	id, err := h.deviceID(r, Set)
	if err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // not every ResponseWriter has deadlines
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return &twin.Error{Code: twin.CodeTooLarge, Reason: fmt.Sprintf("the body has more than %d bytes", maxBody)}
	}
	if err != nil {
		return invalid("the body cannot be read: %v", err)
	}
	values, err := decodeDesired(body)
	if err != nil {
		return err
	}
	if err := h.cfg.Engine.Desire(r.Context(), twin.Values{Device: id, Values: values}); err != nil {
		return err
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	set, err := h.cfg.Engine.Get(id, names...)
	if err != nil {
		return err
	}
	form := make(map[string]Property, len(set))
	for _, p := range set {
		form[p.Name] = propertyForm(p)
	}
	return answer(w, form)
}

// decodeDesired reads the body of a PUT: an object of texts.
func decodeDesired(body []byte) (map[string]string, error) {
	var texts map[string]*string
	err := jsonlimit.Unmarshal(body, &texts)
	if mismatch := new(json.UnmarshalTypeError); errors.As(err, &mismatch) {
		return nil, invalid(`the body has a %s: it must be an object of texts in quotes, for example {"target":"25"}`, mismatch.Value)
	}
	if err != nil {
		return nil, invalid("the body is not JSON: %v", err)
	}
	if len(texts) == 0 {
		return nil, invalid(`the body names no property: it must be, for example, {"target":"25"}`)
	}
	values := make(map[string]string, len(texts))
	for name, text := range texts {
		if text == nil {
			return nil, invalid(`property %.140q is null: use "" to withdraw a desired value`, name)
		}
		values[name] = *text
	}
	return values, nil
}

func (h *Handler) history(w http.ResponseWriter, r *http.Request) error {
	id, err := h.deviceID(r, Read)
	if err != nil {
		return err
	}
	q, err := historyQuery(r.URL.Query())
	if err != nil {
		return err
	}
	q.Device = id
	page, err := h.cfg.Engine.History(r.Context(), q)
	if err != nil {
		return err
	}
	form := History{Entries: make([]HistoryEntry, len(page.Entries)), Next: page.Next}
	for i, e := range page.Entries {
		form.Entries[i] = HistoryEntry(e)
	}
	return answer(w, form)
}

func historyQuery(query url.Values) (history.Query, error) {
	q := history.Query{Property: query.Get("property")}
	if err := twin.CheckName(q.Property); err != nil {
		return q, invalid("parameter property: %v", err)
	}
	const latest = 1<<48 - 1
	from, err1 := number(query, "from", latest)
	to, err2 := number(query, "to", latest)
	limit, err3 := number(query, "limit", history.MaxValues)
	after, err4 := number(query, "after", 1<<62)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			return q, err
		}
	}
	if from > 0 {
		q.From = time.UnixMilli(int64(from))
	}
	if to > 0 {
		q.To = time.UnixMilli(int64(to))
	}
	q.Limit, q.After = int(limit), after
	return q, nil
}
