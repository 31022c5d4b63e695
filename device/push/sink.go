package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// The methods of a schema.PushMethod, which are the keys of Config.Open.
const (
	MethodHTTP      = "http"
	MethodMQTT      = "mqtt"
	MethodOTEL      = "otel"
	MethodInfluxDB2 = "influxdb2"
	MethodRedis     = "redis"
	MethodTDEngine  = "TDengine"
	MethodMySQL     = "mysql"
)

// Reading is one value of a property.
type Reading struct {
	Device   string      `json:"device"` // namespace/name
	Property string      `json:"property"`
	Value    string      `json:"value"`
	Type     schema.Type `json:"type,omitempty"` // of the model; empty if it does not have the property
	Unit     string      `json:"unit,omitempty"` // of the model
	Time     int64       `json:"timestamp"`      // when it was reported, in milliseconds since 1970
}

// At is Time as a time in UTC.
func (r Reading) At() time.Time { return time.UnixMilli(r.Time).UTC() }

// ErrRefused is wrapped by the error of a Sink that will never take a reading as it is.
var ErrRefused = errors.New("device/push: reading is refused")

// Sink takes readings. One goroutine calls its methods.
type Sink interface {
	// Write sends readings, oldest first, and returns how many were taken. The error says why
	// that are not all; one that wraps ErrRefused is about the next reading and final.
	Write(ctx context.Context, readings []Reading) (int, error)
	// Close frees what the Sink has. It is called once.
	Close() error
}

// Secret returns a credential for a method: "username", "password", "token". It is empty if
// there is none.
type Secret func(method, name string) string

// Opener makes a Sink. Exactly one method of target is set. It does no I/O: the Sink connects
// as it writes. An error says which field of the pushMethod is wrong.
type Opener func(target schema.PushMethod, secret Secret) (Sink, error)

// Merge joins maps of openers; the last one that has a method counts.
func Merge(all ...map[string]Opener) map[string]Opener {
	out := make(map[string]Opener)
	for _, openers := range all {
		maps.Copy(out, openers)
	}
	return out
}

// target is where readings go: one method with its settings.
type target struct {
	method string
	key    string // for the store: the same for equal settings
	push   schema.PushMethod
}

// targetsOf takes the methods of p apart.
func targetsOf(p *schema.PushMethod) ([]target, error) {
	if p == nil {
		return nil, nil
	}
	var list []target
	add := func(method string, push schema.PushMethod) error {
		raw, err := json.Marshal(push)
		if err != nil {
			return fmt.Errorf("device/push: pushMethod: %w", err)
		}
		h := fnv.New64a()
		h.Write(raw)
		list = append(list, target{method: method, key: fmt.Sprintf("%016x", h.Sum64()), push: push})
		return nil
	}
	var errs []error
	if p.HTTP != nil {
		errs = append(errs, add(MethodHTTP, schema.PushMethod{HTTP: p.HTTP}))
	}
	if p.MQTT != nil {
		errs = append(errs, add(MethodMQTT, schema.PushMethod{MQTT: p.MQTT}))
	}
	if p.OTEL != nil {
		errs = append(errs, add(MethodOTEL, schema.PushMethod{OTEL: p.OTEL}))
	}
	if db := p.DB; db != nil {
		if db.InfluxDB2 != nil {
			errs = append(errs, add(MethodInfluxDB2, schema.PushMethod{DB: &schema.PushDB{InfluxDB2: db.InfluxDB2}}))
		}
		if db.Redis != nil {
			errs = append(errs, add(MethodRedis, schema.PushMethod{DB: &schema.PushDB{Redis: db.Redis}}))
		}
		if db.TDEngine != nil {
			errs = append(errs, add(MethodTDEngine, schema.PushMethod{DB: &schema.PushDB{TDEngine: db.TDEngine}}))
		}
		if db.MySQL != nil {
			errs = append(errs, add(MethodMySQL, schema.PushMethod{DB: &schema.PushDB{MySQL: db.MySQL}}))
		}
	}
	return list, errors.Join(errs...)
}
