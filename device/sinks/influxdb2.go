package sinks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// InfluxDB2 is the Opener of push.MethodInfluxDB2. A reading is a point of the measurement with
// the field fieldKey ("value" if it is empty) and the tags of the Device, to which "device" and
// "property" are added. Numbers and booleans keep their type. The secret is "token".
func InfluxDB2(target schema.PushMethod, secret push.Secret) (push.Sink, error) {
	i := target.DB.InfluxDB2
	if i.Client == nil || i.Client.URL == "" || i.Client.Org == "" || i.Client.Bucket == "" {
		return nil, errors.New("device/sinks: dbMethod.influxdb2.influxdb2ClientConfig: url, org and bucket are required")
	}
	if i.Data == nil || i.Data.Measurement == "" {
		return nil, errors.New("device/sinks: dbMethod.influxdb2.influxdb2DataConfig.measurement is empty: name the measurement")
	}
	options := influxdb2.DefaultOptions().SetLogLevel(0).SetPrecision(1e6) // milliseconds
	client := influxdb2.NewClientWithOptions(i.Client.URL, secret(push.MethodInfluxDB2, "token"), options)
	s := &influxSink{client: client, write: client.WriteAPIBlocking(i.Client.Org, i.Client.Bucket), data: *i.Data}
	if s.data.FieldKey == "" {
		s.data.FieldKey = "value"
	}
	return s, nil
}

type influxSink struct {
	client influxdb2.Client
	write  api.WriteAPIBlocking
	data   schema.InfluxDB2DataConfig
}

// Write writes all points in one request. If one of them is refused, it writes them one by one.
func (s *influxSink) Write(ctx context.Context, readings []push.Reading) (int, error) {
	points := make([]*write.Point, 0, len(readings))
	for _, r := range readings {
		points = append(points, s.point(r))
	}
	err := influxError(s.write.WritePoint(ctx, points...))
	if err == nil {
		return len(readings), nil
	}
	if !errors.Is(err, push.ErrRefused) {
		return 0, err
	}
	for i, p := range points {
		if err := influxError(s.write.WritePoint(ctx, p)); err != nil {
			return i, err
		}
	}
	return len(readings), nil
}

func (s *influxSink) point(r push.Reading) *write.Point {
	tags := map[string]string{"device": r.Device, "property": r.Property}
	maps.Copy(tags, s.data.Tag)
	return influxdb2.NewPoint(s.data.Measurement, tags, map[string]any{s.data.FieldKey: typed(r)}, r.At())
}

// typed is the value with its type; text if it does not have the form of that.
func typed(r push.Reading) any {
	switch r.Type {
	case schema.TypeInt:
		if i, err := strconv.ParseInt(r.Value, 10, 64); err == nil {
			return i
		}
	case schema.TypeFloat, schema.TypeDouble:
		if f, err := strconv.ParseFloat(r.Value, 64); err == nil {
			return f
		}
	case schema.TypeBoolean:
		return r.Value == "true"
	}
	return r.Value
}

// influxError marks the errors that are about a point itself.
func influxError(err error) error {
	if err == nil {
		return nil
	}
	var e *influxhttp.Error
	if errors.As(err, &e) && (e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusRequestEntityTooLarge || e.StatusCode == http.StatusUnprocessableEntity) {
		return fmt.Errorf("%w: influxdb: %w", push.ErrRefused, err)
	}
	return fmt.Errorf("device/sinks: influxdb: %w", err)
}

func (s *influxSink) Close() error {
	s.client.Close()
	return nil
}
