import Synchronization

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
        let (days, rest) = second.flooredDivision(by: 86_400)
        // Years begin in March and eras of 400 years in year 0: leap days come last.
        let (era, dayOfEra) = (days + 719_468).flooredDivision(by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = (monthFromMarch + 2) % 12
        let year = yearOfEra + era * 400 + (month < 2 ? 1 : 0)
        let weekday = (days + 4).flooredDivision(by: 7).remainder
        return "\(weekdays[weekday]), \(twoDigits(day)) \(months[month]) \(year) "
            + "\(twoDigits(rest / 3600)):\(twoDigits(rest / 60 % 60)):\(twoDigits(rest % 60)) GMT"
    }

    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    private static func twoDigits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
}

extension Int {
    fileprivate func flooredDivision(by divisor: Int) -> (quotient: Int, remainder: Int) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
