package sinks

import (
	"github.com/edgekit/edgekit/device/push"
)

// All returns the Openers of this package by method, for push.Config.Open.
func All() map[string]push.Opener {
	return map[string]push.Opener{
		push.MethodInfluxDB2: InfluxDB2, push.MethodRedis: Redis, push.MethodMySQL: MySQL, push.MethodTDEngine: TDEngine,
	}
}
