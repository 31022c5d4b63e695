package push

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// OTLP is the Opener of MethodOTEL: OpenTelemetry metrics over HTTP in JSON, to endpointURL. A
// URL without a path gets /v1/metrics. Each property is a gauge of its own name, of the
// resource with the attribute device.id. true is 1 and false 0; text that is no number has no
// form there and is left out. The secret "authorization" is the header Authorization.
func OTLP(target schema.PushMethod, secret Secret) (Sink, error) {
	u, err := url.Parse(target.OTEL.EndpointURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("device/push: pushMethod.otel.endpointURL %.100q is no URL: use http://HOST:4318/v1/metrics", target.OTEL.EndpointURL)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/metrics"
	}
	return &otlpSink{url: u.String(), authorization: secret(MethodOTEL, "authorization"), client: newClient(0)}, nil
}

type otlpSink struct {
	url           string
	authorization string
	client        *http.Client
}

// The message ExportMetricsServiceRequest, as far as it is used.
type (
	otlpRequest struct {
		ResourceMetrics []otlpResource `json:"resourceMetrics"`
	}
	otlpResource struct {
		Resource     otlpAttributes `json:"resource"`
		ScopeMetrics []otlpScope    `json:"scopeMetrics"`
	}
	otlpAttributes struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpAttribute struct {
		Key   string `json:"key"`
		Value struct {
			StringValue string `json:"stringValue"`
		} `json:"value"`
	}
	otlpScope struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		Metrics []*otlpMetric `json:"metrics"`
	}
	otlpMetric struct {
		Name  string `json:"name"`
		Unit  string `json:"unit,omitempty"`
		Gauge struct {
			DataPoints []otlpPoint `json:"dataPoints"`
		} `json:"gauge"`
	}
	otlpPoint struct {
		Time     string   `json:"timeUnixNano"` // 64-bit integers are strings in this JSON
		AsInt    *string  `json:"asInt,omitempty"`
		AsDouble *float64 `json:"asDouble,omitempty"`
	}
)

func (s *otlpSink) Write(ctx context.Context, readings []Reading) (int, error) {
	body, err := otlpBody(readings)
	if err != nil {
		return 0, fmt.Errorf("device/push: %w", err)
	}
	if body == nil {
		return len(readings), nil
	}
	if err := post(ctx, s.client, s.url, "application/json", s.authorization, string(body)); err != nil {
		return 0, err
	}
	return len(readings), nil
}

func (s *otlpSink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// otlpBody makes the request; nil if no reading is a number.
func otlpBody(readings []Reading) ([]byte, error) {
	var request otlpRequest
	devices := make(map[string]int) // index in ResourceMetrics
	metrics := make(map[[2]string]*otlpMetric)
	for _, r := range readings {
		point, ok := otlpPointOf(r)
		if !ok {
			continue
		}
		i, ok := devices[r.Device]
		if !ok {
			i = len(request.ResourceMetrics)
			devices[r.Device] = i
			attribute := otlpAttribute{Key: "device.id"}
			attribute.Value.StringValue = r.Device
			scope := otlpScope{}
			scope.Scope.Name = "edgekit/device/push"
			request.ResourceMetrics = append(request.ResourceMetrics, otlpResource{Resource: otlpAttributes{[]otlpAttribute{attribute}}, ScopeMetrics: []otlpScope{scope}})
		}
		m := metrics[[2]string{r.Device, r.Property}]
		if m == nil {
			m = &otlpMetric{Name: r.Property, Unit: r.Unit}
			metrics[[2]string{r.Device, r.Property}] = m
			scope := &request.ResourceMetrics[i].ScopeMetrics[0]
			scope.Metrics = append(scope.Metrics, m)
		}
		m.Gauge.DataPoints = append(m.Gauge.DataPoints, point)
	}
	if len(request.ResourceMetrics) == 0 {
		return nil, nil
	}
	return json.Marshal(request)
}

func otlpPointOf(r Reading) (otlpPoint, bool) {
	p := otlpPoint{Time: strconv.FormatInt(r.Time, 10) + "000000"}
	number := r.Value
	switch number {
	case "true":
		number = "1"
	case "false":
		number = "0"
	}
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		p.AsInt = &number
		return p, true
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return p, false
	}
	p.AsDouble = &f
	return p, true
}
