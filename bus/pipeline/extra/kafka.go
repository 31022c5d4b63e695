package extra

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/internal/outbound"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// maxRecord is the largest record in bytes: what brokers take if nothing is said.
const maxRecord = 1<<20 - 64<<10

// kafkaSink produces to a topic. Its client exists from the first Send to Close.
type kafkaSink struct {
	env   pipeline.Env
	spec  *v1alpha1.Sink
	codec kgo.CompressionCodec
	key   pipeline.Program // nil without one

	mu     sync.Mutex
	client *kgo.Client // nil before the first Send
}

func openKafka(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	for i, b := range spec.Kafka.Brokers {
		host, port, err := net.SplitHostPort(b)
		if n, err2 := strconv.ParseUint(port, 10, 16); err != nil || err2 != nil || n == 0 || host == "" {
			return nil, specError(spec, fmt.Errorf("kafka.brokers[%d] is %.100q: use HOST:PORT", i, b))
		}
	}
	if len(spec.Kafka.Brokers) == 0 || spec.Kafka.Topic == "" {
		return nil, specError(spec, errors.New("kafka: brokers and topic are required"))
	}
	packing, err := compression(spec, "zstd", "gzip", "none")
	if err != nil {
		return nil, err
	}
	s := &kafkaSink{env: env, spec: spec, codec: map[string]kgo.CompressionCodec{"zstd": kgo.ZstdCompression(), "gzip": kgo.GzipCompression(), "none": kgo.NoCompression()}[packing]}
	if spec.Kafka.Key != "" {
		if env.Expressions == nil {
			return nil, specError(spec, errors.New("kafka.key: this program has no expressions"))
		}
		if s.key, err = env.Expressions.Compile(string(spec.Kafka.Key), pipeline.Types{Result: pipeline.Any}); err != nil {
			return nil, specError(spec, fmt.Errorf("kafka.key: %w", err))
		}
	}
	return s, nil
}

// connect makes the client, once. It connects with the first record.
func (s *kafkaSink) connect(ctx context.Context) (*kgo.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	cred, err := outbound.Load(ctx, s.env, s.spec)
	if err != nil {
		return nil, err
	}
	dial := outbound.Dialer().DialContext
	if cred.HasTLS() || cred.Username != "" { // a password never travels in the clear
		cfg, err := cred.TLS()
		if err != nil {
			return nil, err
		}
		dial = (&tls.Dialer{NetDialer: outbound.Dialer(), Config: cfg}).DialContext
	}
	// A Send is bounded by its context. The client's own timeout of records counts from their
	// timestamps, which are those of the events: a backlog would never be produced.
	options := []kgo.Opt{
		kgo.SeedBrokers(s.spec.Kafka.Brokers...), kgo.DefaultProduceTopic(s.spec.Kafka.Topic), kgo.Dialer(dial), kgo.ClientID("edgekit-pipeline"),
		kgo.ProducerBatchCompression(s.codec), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.AllowIdempotentProduceCancellation(), kgo.ProducerBatchMaxBytes(1 << 20),
		kgo.MaxBufferedRecords(1 << 14), kgo.RequestTimeoutOverhead(sendTimeout / 3), kgo.UnknownTopicRetries(2), kgo.DisableClientMetrics(),
	}
	if cred.Username != "" {
		options = append(options, kgo.SASL(plain.Auth{User: cred.Username, Pass: cred.Password}.AsMechanism()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	s.client = client
	return client, nil
}

func (s *kafkaSink) record(e *pipeline.Event) (*kgo.Record, error) {
	b, err := cloudEvent(e)
	if err != nil {
		return nil, err
	}
	r := &kgo.Record{Value: b, Timestamp: e.Time, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(cloudevents.ContentType)}, {Key: "id", Value: []byte(e.ID)}}}
	if s.key != nil {
		v, err := s.key.Eval(&pipeline.Vars{Event: e, Node: s.env.Node, Now: s.env.Clock.Now()})
		if err != nil {
			return nil, fmt.Errorf("kafka.key: %w", err)
		}
		switch v := v.(type) {
		case nil:
		case string:
			r.Key = []byte(v)
		case bool, int64, uint64, float64:
			r.Key = fmt.Append(nil, v)
		default:
			return nil, fmt.Errorf("kafka.key results in a %T: use a text, a number or a bool", v)
		}
	}
	if n := len(r.Key) + len(r.Value) + len(e.ID); n > maxRecord {
		return nil, fmt.Errorf("the record has %d bytes, brokers take %d", n, maxRecord)
	}
	return r, nil
}

// Send produces all events and waits until all replicas that are in step have them.
func (s *kafkaSink) Send(ctx context.Context, events []pipeline.Event) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	client, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("bus/pipeline/extra: kafka: %w", err)
	}
	var records []*kgo.Record
	var after error // for when what comes before is there
	for i := range events {
		r, err := s.record(&events[i])
		if err != nil {
			after = refused(i, err)
			break
		}
		records = append(records, r)
	}
	if len(records) > 0 {
		err = produced(client.ProduceSync(ctx, records...))
	}
	if err == nil {
		err = after
	}
	if err != nil {
		return fmt.Errorf("bus/pipeline/extra: kafka: %w", err)
	}
	return nil
}

// produced is the error of a Send. A record that the brokers never take fails its whole batch: the
// engine sends halves until it has found the record.
func produced(results kgo.ProduceResults) error {
	var never error
	for _, r := range results {
		switch err := r.Err; {
		case err == nil:
		case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.InvalidRecord), errors.Is(err, kerr.InvalidTimestamp):
			never = fmt.Errorf("%w: %w", pipeline.ErrRefused, err)
		default:
			return err
		}
	}
	return never
}

func (s *kafkaSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
	return nil
}
