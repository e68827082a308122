import Dispatch
import Synchronization
import Testing

@testable import ChainOrchestrator

@Suite("A job's events on their way to their reader", .timeLimit(.minutes(2)))
struct GenerationFeedTests {
    private static func token(_ number: Int) -> GenerationEvent {
        .token(GeneratedToken(id: Int32(number), text: ""))
    }

    private static let last = GenerationEvent.failed(.cancelled)

    private static func takeAll(_ feed: GenerationFeed) -> (events: [GenerationEvent], isEnd: Bool) {
        var events: [GenerationEvent] = []
        while true {
            switch feed.take() {
            case .event(let event, _): events.append(event)
            case .nothing: return (events, false)
            case .end: return (events, true)
            }
        }
    }

    @Test("who asks for any event is told once until nothing was left; who asks for the end, at the end")
    func news() {
        for isEndOnly in [false, true] {
            let told = Atomic(0)
            let feed = GenerationFeed()
            feed.yield(.started(chain: "a", attempt: 1))
            feed.onNews(isEndOnly ? .end : .anyEvent) { told.add(1, ordering: .relaxed) }
            #expect(told.load(ordering: .relaxed) == (isEndOnly ? 0 : 1), "of what was there already")
            feed.yield(Self.token(1))
            #expect(told.load(ordering: .relaxed) == (isEndOnly ? 0 : 1))
            #expect(Self.takeAll(feed).events.count == 2)
            feed.yield(Self.token(2))
            #expect(told.load(ordering: .relaxed) == (isEndOnly ? 0 : 2))
            feed.yield(Self.last)
            feed.finish()
            #expect(told.load(ordering: .relaxed) == (isEndOnly ? 1 : 2))
            let (events, isEnd) = Self.takeAll(feed)
            #expect(events == [Self.token(2), Self.last] && isEnd)
            feed.yield(Self.token(3))
            #expect(Self.takeAll(feed).events.isEmpty, "nothing comes after the end")
        }
    }

    @Test("who asks after the end is told at once")
    func late() {
        for isEndOnly in [false, true] {
            let told = Atomic(0)
            let feed = GenerationFeed()
            feed.yield(Self.last)
            feed.finish()
            feed.onNews(isEndOnly ? .end : .anyEvent) { told.add(1, ordering: .relaxed) }
            #expect(told.load(ordering: .relaxed) == 1)
        }
    }

    @Test("no event and no news is lost between threads")
    func threads() async {
        for round in 0..<300 {
            let feed = GenerationFeed()
            let news = DispatchSemaphore(value: 0)
            feed.onNews(round.isMultiple(of: 3) ? .end : .anyEvent) { news.signal() }
            DispatchQueue.global().async {
                for number in 0..<40 { feed.yield(Self.token(number)) }
                feed.yield(Self.last)
                feed.finish()
            }
            let events = await withCheckedContinuation { answer in
                DispatchQueue.global().async {
                    var all: [GenerationEvent] = []
                    while true {
                        guard news.wait(timeout: .now() + 20) == .success else { break }
                        let (events, isEnd) = Self.takeAll(feed)
                        all += events
                        if isEnd || all.last == Self.last { break }
                    }
                    answer.resume(returning: all)
                }
            }
            #expect(events == (0..<40).map(Self.token) + [Self.last])
        }
    }

    @Test("a task reads all events; a cancelled one gives the job up")
    func tasks() async {
        let cancelled = Atomic(0)
        let (stream, feed) = GenerationStream.makeStream(promptTokens: 1) {
            cancelled.add(1, ordering: .relaxed)
        }
        let reader = Task {
            var count = 0
            for await _ in stream.events { count += 1 }
            return count
        }
        for number in 0..<100 {
            feed.yield(Self.token(number))
            if number.isMultiple(of: 7) { await Task.yield() }
        }
        feed.finish()
        #expect(await reader.value == 100)
        #expect(cancelled.load(ordering: .relaxed) == 0)
        let (endless, _) = GenerationStream.makeStream(promptTokens: 1) {
            cancelled.add(1, ordering: .relaxed)
        }
        let waiting = Task { for await _ in endless.events {} }
        await Task.yield()
        waiting.cancel()
        await waiting.value
        #expect(cancelled.load(ordering: .relaxed) >= 1)
    }

    @Test("letting go of a stream gives its job up, unless that has ended")
    func lettingGo() {
        for hasEnded in [false, true] {
            let cancelled = Atomic(0)
            var (stream, feed): (GenerationStream?, GenerationFeed) = GenerationStream.makeStream(
                promptTokens: 1
            ) { cancelled.add(1, ordering: .relaxed) }
            feed.yield(Self.last)
            if hasEnded { feed.finish() }
            #expect(stream?.promptTokens == 1)
            stream = nil
            #expect(cancelled.load(ordering: .relaxed) == (hasEnded ? 0 : 1))
            _ = feed
        }
    }
}
