package v1beta1

// Metadata of calls between both ends of edgekit. Others do not know it.
const (
	// HeaderWithin says in ReportDeviceStates for how many milliseconds the state holds
	// without another report.
	HeaderWithin = "edgekit-within-ms"
	// HeaderWhole, with any value, has the values of a ReportDeviceStatus stored all or none.
	HeaderWhole = "edgekit-whole"
	// HeaderDevicesLeft says in the answer of MapperRegister how many devices it had no room
	// for. They follow by RegisterDevice.
	HeaderDevicesLeft = "edgekit-devices-left"
)
