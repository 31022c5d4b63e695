package schema

// PushMethod sends the readings of a property somewhere else as well. A
// mapper that does not support a method says so and goes on without it.
//
// +kubebuilder:object:generate=true
type PushMethod struct {
	// HTTP posts each reading to a server.
	HTTP *PushHTTP `json:"http,omitempty"`
	// MQTT publishes each reading at a broker.
	MQTT *PushMQTT `json:"mqtt,omitempty"`
	// OTEL sends readings as OpenTelemetry metrics.
	OTEL *PushOTEL `json:"otel,omitempty"`
	// DBMethod writes readings to a database.
	DB *PushDB `json:"dbMethod,omitempty"`
	// AnomalyDetection is for mappers that judge readings.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	AnomalyDetection Options `json:"anomalyDetection,omitempty"`
}

// PushHTTP says where readings are posted.
//
// +kubebuilder:object:generate=true
type PushHTTP struct {
	// HostName of the server.
	HostName string `json:"hostName,omitempty"`
	// Port of the server.
	Port int64 `json:"port,omitempty"`
	// RequestPath of the request.
	RequestPath string `json:"requestPath,omitempty"`
	// Timeout of a request, in milliseconds.
	Timeout int64 `json:"timeout,omitempty"`
}

// PushMQTT says where readings are published.
//
// +kubebuilder:object:generate=true
type PushMQTT struct {
	// Address of the broker, for example tcp://127.0.0.1:1883.
	Address string `json:"address,omitempty"`
	// Topic to publish to.
	Topic string `json:"topic,omitempty"`
	// QoS of the message: 0, 1 or 2.
	QoS int32 `json:"qos,omitempty"`
	// Retained has the broker keep the last reading.
	Retained bool `json:"retained,omitempty"`
}

// PushOTEL says where OpenTelemetry metrics go.
//
// +kubebuilder:object:generate=true
type PushOTEL struct {
	// EndpointURL of the collector.
	EndpointURL string `json:"endpointURL,omitempty"`
}

// PushDB says which database gets the readings; one of the fields is set.
//
// +kubebuilder:object:generate=true
type PushDB struct {
	// InfluxDB2 writes readings to an InfluxDB of version 2.
	InfluxDB2 *PushInfluxDB2 `json:"influxdb2,omitempty"`
	// Redis writes readings to a Redis.
	Redis *PushRedis `json:"redis,omitempty"`
	// TDEngine writes readings to a TDengine.
	TDEngine *PushTDEngine `json:"TDEngine,omitempty"`
	// MySQL writes readings to a MySQL or MariaDB.
	MySQL *PushMySQL `json:"mysql,omitempty"`
}

// PushInfluxDB2 says where and how readings are written to InfluxDB 2.
//
// +kubebuilder:object:generate=true
type PushInfluxDB2 struct {
	// InfluxDB2ClientConfig says where the database is.
	Client *InfluxDB2ClientConfig `json:"influxdb2ClientConfig,omitempty"`
	// InfluxDB2DataConfig says how a reading is written.
	Data *InfluxDB2DataConfig `json:"influxdb2DataConfig,omitempty"`
}

// InfluxDB2ClientConfig says where an InfluxDB is. The token comes from the mapper's
// own environment, never from the Device.
//
// +kubebuilder:object:generate=true
type InfluxDB2ClientConfig struct {
	// URL of the database.
	URL string `json:"url,omitempty"`
	// Org is the organisation.
	Org string `json:"org,omitempty"`
	// Bucket to write to.
	Bucket string `json:"bucket,omitempty"`
}

// InfluxDB2DataConfig says how a reading is written.
//
// +kubebuilder:object:generate=true
type InfluxDB2DataConfig struct {
	// Measurement to write to.
	Measurement string `json:"measurement,omitempty"`
	// Tag is the set of tags of each point.
	Tag map[string]string `json:"tag,omitempty"`
	// FieldKey is the field that gets the value.
	FieldKey string `json:"fieldKey,omitempty"`
}

// PushRedis says which Redis gets the readings.
//
// +kubebuilder:object:generate=true
type PushRedis struct {
	// RedisClientConfig says where the database is.
	Client *RedisClientConfig `json:"redisClientConfig,omitempty"`
}

// RedisClientConfig says where a Redis is.
//
// +kubebuilder:object:generate=true
type RedisClientConfig struct {
	// Addr is host and port.
	Addr string `json:"addr,omitempty"`
	// DB is the number of the database.
	DB int32 `json:"db,omitempty"`
	// PoolSize is the largest number of connections.
	PoolSize int32 `json:"poolsize,omitempty"`
	// MinIdleConns is how many connections are kept when idle.
	MinIdleConns int32 `json:"minIdleConns,omitempty"`
}

// PushTDEngine says which TDengine gets the readings.
//
// +kubebuilder:object:generate=true
type PushTDEngine struct {
	// TDEngineClientConfig says where the database is.
	Client *TDEngineClientConfig `json:"TDEngineClientConfig,omitempty"`
}

// TDEngineClientConfig says where a TDengine is.
//
// +kubebuilder:object:generate=true
type TDEngineClientConfig struct {
	// Addr is host and port.
	Addr string `json:"addr,omitempty"`
	// DBName is the database.
	DBName string `json:"dbName,omitempty"`
}

// PushMySQL says which MySQL gets the readings.
//
// +kubebuilder:object:generate=true
type PushMySQL struct {
	// MySQLClientConfig says where the database is.
	Client *MySQLClientConfig `json:"mysqlClientConfig,omitempty"`
}

// MySQLClientConfig says where a MySQL is.
//
// +kubebuilder:object:generate=true
type MySQLClientConfig struct {
	// Addr is host and port.
	Addr string `json:"addr,omitempty"`
	// Database to write to.
	Database string `json:"database,omitempty"`
	// UserName to log in with; the password comes from the mapper's own
	// environment.
	UserName string `json:"userName,omitempty"`
}
