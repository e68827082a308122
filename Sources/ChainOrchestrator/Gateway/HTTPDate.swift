import Synchronization

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Moments as HTTP writes them (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`. Made once a second.
final class HTTPDate: Sendable {
    private let latest = Mutex<(second: Int, text: String)?>(nil)

    /// - Parameter second: seconds since 1970.
    func text(at second: Int) -> String {
        latest.withLock { latest in
            if let latest, latest.second == second { return latest.text }
            let text = Self.text(of: second)
            latest = (second, text)
            return text
        }
    }

    static func text(of second: Int) -> String {
        var (moment, fields) = (time_t(second), tm())
        gmtime_r(&moment, &fields)
        let (weekday, month) = (weekdays[Int(fields.tm_wday)], months[Int(fields.tm_mon)])
        let time = [fields.tm_hour, fields.tm_min, fields.tm_sec].map(twoDigits).joined(separator: ":")
        return "\(weekday), \(twoDigits(fields.tm_mday)) \(month) \(1900 + Int(fields.tm_year)) \(time) GMT"
    }

    // The C library's own names follow the locale.
    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    private static func twoDigits(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
