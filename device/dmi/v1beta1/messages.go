package v1beta1

// MapperRegisterRequest registers a mapper.
type MapperRegisterRequest struct {
	WithData bool        `pb:"1"` // answer with the models and devices of the mapper's protocol
	Mapper   *MapperInfo `pb:"2"`
}

// MapperRegisterResponse has the devices of the mapper that has registered.
type MapperRegisterResponse struct {
	ModelList  []*DeviceModel `pb:"1"`
	DeviceList []*Device      `pb:"2"`
}

// MapperInfo describes a mapper.
type MapperInfo struct {
	Name       string `pb:"1"` // unique on the node
	Version    string `pb:"2"` // of the mapper
	APIVersion string `pb:"3"` // of DMI, for example "v1beta1"
	Protocol   string `pb:"4"` // the protocolName of its devices
	Address    []byte `pb:"5"` // path of its unix socket; KubeEdge has bytes here
	State      string `pb:"6"` // for example "ok"
	// Edgekit asks for EdgekitSpec and EdgekitModel. Mappers of edgekit's SDK set it; others,
	// and KubeEdge, skip field 1000.
	Edgekit bool `pb:"1000"`
}

// Device is a device as a mapper sees it.
type Device struct {
	Name      string        `pb:"1"`
	Spec      *DeviceSpec   `pb:"2"`
	Status    *DeviceStatus `pb:"3"`
	Namespace string        `pb:"4"`
	// EdgekitSpec is the JSON of the spec with all that DMI has no place for; only if
	// MapperInfo.Edgekit is set.
	EdgekitSpec []byte `pb:"1000"`
}

// DeviceSpec says what is wanted of a device.
type DeviceSpec struct {
	DeviceModelReference string            `pb:"1"` // name of the model, in the device's namespace
	Protocol             *ProtocolConfig   `pb:"2"`
	Properties           []*DeviceProperty `pb:"3"`
	Methods              []*DeviceMethod   `pb:"4"`
}

// DeviceProperty is one property of a device.
type DeviceProperty struct {
	Name          string         `pb:"1"`
	Desired       *TwinProperty  `pb:"2"`
	Visitors      *VisitorConfig `pb:"3"`
	ReportCycle   int64          `pb:"4"` // milliseconds
	CollectCycle  int64          `pb:"5"` // milliseconds
	ReportToCloud bool           `pb:"6"`
	PushMethod    *PushMethod    `pb:"7"` // nil if readings go nowhere else
}

// DeviceMethod is a named group of properties.
type DeviceMethod struct {
	Name          string   `pb:"1"`
	Description   string   `pb:"2"`
	PropertyNames []string `pb:"3"`
}

// ProtocolConfig says how a device is reached.
type ProtocolConfig struct {
	ProtocolName string           `pb:"1"`
	ConfigData   *CustomizedValue `pb:"2"`
}

// VisitorConfig says how a property is reached.
type VisitorConfig struct {
	ProtocolName string           `pb:"1"`
	ConfigData   *CustomizedValue `pb:"2"`
}

// CustomizedValue is a free object.
type CustomizedValue struct {
	Data map[string]*Any `pb:"1"`
}

// AnomalyDetection is a free object for mappers that judge readings.
type AnomalyDetection struct {
	Data map[string]*Any `pb:"1"`
}

// Any is google.protobuf.Any: a message with the name of its type.
type Any struct {
	TypeURL string `pb:"1"`
	Value   []byte `pb:"2"`
}

// PushMethod says where readings of a property go besides the twin.
type PushMethod struct {
	HTTP             *PushMethodHTTP   `pb:"1"`
	MQTT             *PushMethodMQTT   `pb:"2"`
	DBMethod         *DBMethod         `pb:"3"`
	OTEL             *PushMethodOTEL   `pb:"4"`
	AnomalyDetection *AnomalyDetection `pb:"5"`
}

// PushMethodHTTP posts readings.
type PushMethodHTTP struct {
	HostName    string `pb:"1"`
	Port        int64  `pb:"2"`
	RequestPath string `pb:"3"`
	Timeout     int64  `pb:"4"` // milliseconds
}

// PushMethodMQTT publishes readings.
type PushMethodMQTT struct {
	Address  string `pb:"1"`
	Topic    string `pb:"2"`
	QoS      int32  `pb:"3"`
	Retained bool   `pb:"4"`
}

// PushMethodOTEL sends readings as OpenTelemetry metrics.
type PushMethodOTEL struct {
	EndpointURL string `pb:"1"`
}

// DBMethod writes readings to a database; one of the fields is set.
type DBMethod struct {
	InfluxDB2 *DBMethodInfluxDB2 `pb:"1"`
	Redis     *DBMethodRedis     `pb:"2"`
	TDEngine  *DBMethodTDEngine  `pb:"3"`
	MySQL     *DBMethodMySQL     `pb:"4"`
}

// DBMethodInfluxDB2 is an InfluxDB 2 and the form of a reading in it.
type DBMethodInfluxDB2 struct {
	Client *InfluxDB2ClientConfig `pb:"1"`
	Data   *InfluxDB2DataConfig   `pb:"2"`
}

// InfluxDB2ClientConfig says where an InfluxDB is.
type InfluxDB2ClientConfig struct {
	URL    string `pb:"1"`
	Org    string `pb:"2"`
	Bucket string `pb:"3"`
}

// InfluxDB2DataConfig says how a reading is written.
type InfluxDB2DataConfig struct {
	Measurement string            `pb:"1"`
	Tag         map[string]string `pb:"2"`
	FieldKey    string            `pb:"3"`
}

// DBMethodRedis is a Redis.
type DBMethodRedis struct {
	Client *RedisClientConfig `pb:"1"`
}

// RedisClientConfig says where a Redis is.
type RedisClientConfig struct {
	Addr         string `pb:"1"`
	DB           int32  `pb:"2"`
	PoolSize     int32  `pb:"3"`
	MinIdleConns int32  `pb:"4"`
}

// DBMethodTDEngine is a TDengine.
type DBMethodTDEngine struct {
	Client *TDEngineClientConfig `pb:"1"`
}

// TDEngineClientConfig says where a TDengine is.
type TDEngineClientConfig struct {
	Addr   string `pb:"1"`
	DBName string `pb:"2"`
}

// DBMethodMySQL is a MySQL.
type DBMethodMySQL struct {
	Client *MySQLClientConfig `pb:"1"`
}

// MySQLClientConfig says where a MySQL is.
type MySQLClientConfig struct {
	Addr     string `pb:"1"`
	Database string `pb:"2"`
	UserName string `pb:"3"`
}

// DeviceModel describes a kind of device.
type DeviceModel struct {
	Name      string           `pb:"1"`
	Spec      *DeviceModelSpec `pb:"2"`
	Namespace string           `pb:"3"`
	// EdgekitModel is the JSON of the model's spec; see Device.EdgekitSpec.
	EdgekitModel []byte `pb:"1000"`
}

// DeviceModelSpec has the properties of a model.
type DeviceModelSpec struct {
	Properties []*ModelProperty `pb:"1"`
	Commands   []*DeviceCommand `pb:"2"`
}

// ModelProperty describes one property of a model.
type ModelProperty struct {
	Name        string `pb:"1"`
	Description string `pb:"2"`
	Type        string `pb:"3"` // INT, FLOAT and so on
	AccessMode  string `pb:"4"` // ReadWrite or ReadOnly
	Minimum     string `pb:"5"`
	Maximum     string `pb:"6"`
	Unit        string `pb:"7"`
}

// DeviceCommand is a command that a device offers over HTTP. edgekit sends none.
type DeviceCommand struct {
	Name       string   `pb:"1"`
	URL        string   `pb:"2"`
	Method     string   `pb:"3"`
	StatusCode []string `pb:"4"`
	Parameters []string `pb:"5"`
	Response   []byte   `pb:"6"`
}

// DeviceStatus has the twins of a device.
type DeviceStatus struct {
	Twins         []*Twin `pb:"1"`
	ReportToCloud bool    `pb:"2"` // the device's state is reported
	ReportCycle   int64   `pb:"3"` // of the state, in milliseconds
}

// Twin is one property with its values. Either of them may be nil.
type Twin struct {
	PropertyName    string        `pb:"1"`
	ObservedDesired *TwinProperty `pb:"2"`
	Reported        *TwinProperty `pb:"3"`
}

// TwinProperty is a value. Its metadata has "type", and "timestamp" in milliseconds.
type TwinProperty struct {
	Value    string            `pb:"1"`
	Metadata map[string]string `pb:"2"`
}

// ReportDeviceStatusRequest reports values of a device.
type ReportDeviceStatusRequest struct {
	DeviceName      string        `pb:"1"`
	ReportedDevice  *DeviceStatus `pb:"2"`
	DeviceNamespace string        `pb:"3"`
}

// ReportDeviceStatesRequest reports the state of a device.
type ReportDeviceStatesRequest struct {
	DeviceName      string `pb:"1"`
	DeviceNamespace string `pb:"2"`
	State           string `pb:"3"`
}

// RegisterDeviceRequest gives a device to a mapper.
type RegisterDeviceRequest struct {
	Device *Device `pb:"1"`
}

// RegisterDeviceResponse names the device.
type RegisterDeviceResponse struct {
	DeviceName      string `pb:"1"`
	DeviceNamespace string `pb:"2"`
}

// RemoveDeviceRequest takes a device from a mapper.
type RemoveDeviceRequest struct {
	DeviceName      string `pb:"1"`
	DeviceNamespace string `pb:"2"`
}

// UpdateDeviceRequest gives a mapper the new form of a device.
type UpdateDeviceRequest struct {
	Device *Device `pb:"1"`
}

// CreateDeviceModelRequest gives a model to a mapper.
type CreateDeviceModelRequest struct {
	Model *DeviceModel `pb:"1"`
}

// CreateDeviceModelResponse names the model.
type CreateDeviceModelResponse struct {
	DeviceModelName      string `pb:"1"`
	DeviceModelNamespace string `pb:"2"`
}

// UpdateDeviceModelRequest gives a mapper the new form of a model.
type UpdateDeviceModelRequest struct {
	Model *DeviceModel `pb:"1"`
}

// RemoveDeviceModelRequest takes a model from a mapper.
type RemoveDeviceModelRequest struct {
	ModelName      string `pb:"1"`
	ModelNamespace string `pb:"2"`
}

// GetDeviceRequest asks a mapper for a device.
type GetDeviceRequest struct {
	DeviceName      string `pb:"1"`
	DeviceNamespace string `pb:"2"`
}

// GetDeviceResponse has the device as the mapper has it.
type GetDeviceResponse struct {
	Device *Device `pb:"1"`
}

// Empty is the response of the calls that return nothing.
type Empty struct{}
