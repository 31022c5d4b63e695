package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Redis is the Opener of push.MethodRedis. The readings of a device are a sorted set whose key is
// namespace/name: the score is the time in milliseconds, the member the JSON of the push.Reading.
// The secrets are "username" and "password".
func Redis(target schema.PushMethod, secret push.Secret) (push.Sink, error) {
	c := target.DB.Redis.Client
	switch {
	case c == nil || c.Addr == "":
		return nil, errors.New("device/sinks: dbMethod.redis.redisClientConfig.addr is empty: use HOST:6379")
	case c.DB < 0 || c.PoolSize < 0 || c.MinIdleConns < 0:
		return nil, errors.New("device/sinks: dbMethod.redis.redisClientConfig: db, poolsize and minIdleConns must not be negative")
	}
	return &redisSink{redis.NewClient(&redis.Options{
		Addr: c.Addr, DB: int(c.DB), PoolSize: int(c.PoolSize), MinIdleConns: int(c.MinIdleConns),
		Username: secret(push.MethodRedis, "username"), Password: secret(push.MethodRedis, "password"),
		ContextTimeoutEnabled: true, MaxRetries: -1, // Pusher tries again
	})}, nil
}

type redisSink struct{ client *redis.Client }

// Write adds all readings or none.
func (s *redisSink) Write(ctx context.Context, readings []push.Reading) (int, error) {
	_, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, r := range readings {
			member, err := json.Marshal(r)
			if err != nil {
				return err
			}
			p.ZAdd(ctx, r.Device, redis.Z{Score: float64(r.Time), Member: member})
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("device/sinks: redis: %w", err)
	}
	return len(readings), nil
}

func (s *redisSink) Close() error { return s.client.Close() }
